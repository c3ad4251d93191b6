// Preconditioned conjugate gradients for rows of implicit ALS. Compiled once per instruction set (RECSYS_ISA).
//
// In the eigenbasis of the Gram matrix the dense part of every system is the diagonal D, so that one step costs a pass
// over the row's own columns and nothing of size width^2; D is the preconditioner too.
#include "als.hpp"

#include "simd.hpp"

namespace recsys {
namespace RECSYS_ISA {
namespace {

constexpr int group = 8;  // columns worked on together: their dots come out of one reduction

struct Row {
    const int32_t *columns;
    const float *weights;  // null: all equal
    int64_t count;
};

// out += sum over the group of coefficient_i y_i, two chains of additions in a fixed order.
inline void axpy_group(const float *const (&y)[group], vec coefficients, float *out, int64_t width) {
    vec c[group];
    for (int i = 0; i < group; ++i) c[i] = vec{} + coefficients[i];
    for (int64_t k = 0; k < width; k += lanes) {
        vec even = load(out + k) + c[0] * load(y[0] + k), odd = c[1] * load(y[1] + k);
#pragma GCC unroll 8
        for (int i = 2; i < group; i += 2) {
            even += c[i] * load(y[i] + k);
            odd += c[i + 1] * load(y[i + 1] + k);
        }
        store(out + k, even + odd);
    }
}

inline vec dot_group(const float *const (&y)[group], const float *p, int64_t width) {
    vec acc[group] = {};
    for (int64_t k = 0; k < width; k += lanes) {
        vec x = load(p + k);
        RECSYS_HOLD(x);
#pragma GCC unroll 8
        for (int i = 0; i < group; ++i) acc[i] += x * load(y[i] + k);
    }
    return reduce(acc);
}

// Fetches the next row's factors while this row is worked on, a few with every group, so that the fetches never queue.
struct Ahead {
    const float *factors;
    const int32_t *columns;
    int64_t left, each, width;

    void fetch() {
        for (int64_t i = 0; i < each && left > 0; ++i, --left, ++columns) {
            const float *y = factors + *columns * width;
            for (int64_t k = 0; k < width; k += 16) __builtin_prefetch(y + k, 0, 2);
        }
    }
};

// Calls with(y, c, present) for each group of the row's columns; the last one is filled up with the first column at
// weight 0.
template <class With>
inline void over_groups(const AlsRows &rows, const Row &row, Ahead &ahead, With with) {
    const float *y[group];
    const vec ones = vec{} + 1.0f, equal = vec{} + rows.weight;
    int64_t at = 0;
    for (; at + group <= row.count; at += group) {
        for (int i = 0; i < group; ++i) y[i] = rows.factors + row.columns[at + i] * rows.width;
        ahead.fetch();
        with(y, row.weights ? load(row.weights + at) : equal, ones);
    }
    if (at == row.count) return;
    float c[group] = {}, present[group] = {};
    for (int i = 0; i < group; ++i) {
        const bool there = at + i < row.count;
        y[i] = rows.factors + row.columns[there ? at + i : 0] * rows.width;
        if (there) c[i] = row.weights ? row.weights[at + i] : rows.weight, present[i] = 1.0f;
    }
    ahead.fetch();
    with(y, load(c), load(present));
}

// r = b - A x and f(x), in one pass.
double residual(const AlsRows &rows, const Row &row, Ahead &ahead, const float *diagonal, const float *x, float *r) {
    double loss = 0;
    vec quadratic = {};
    for (int64_t k = 0; k < rows.width; k += lanes) {
        vec dx = load(diagonal + k) * load(x + k);
        quadratic += dx * load(x + k);
        store(r + k, -dx);
    }
    over_groups(rows, row, ahead, [&](const float *const(&y)[group], vec c, vec present) {
        const vec s = dot_group(y, x, rows.width), miss = 1.0f - s;
        loss += sum(c * miss * miss + present * (rows.shift * (miss - s)));
        axpy_group(y, c * miss + present * rows.shift, r, rows.width);
    });
    return loss + sum(quadratic);
}

void solve_row(const AlsRows &rows, const Row &row, Ahead ahead, float penalty, float *x, double *loss, float *scratch) {
    const int64_t width = rows.width;
    float *diagonal = scratch, *inverse = diagonal + width, *r = inverse + width, *p = r + width, *q = p + width, *moved = q + width;
    for (int64_t k = 0; k < width; k += lanes) {
        const vec on_diagonal = load(rows.dense + k) + penalty;
        store(diagonal + k, on_diagonal);
        store(inverse + k, 1.0f / on_diagonal);
    }
    double value = residual(rows, row, ahead, diagonal, x, r);
    vec rz_lanes = {};
    for (int64_t k = 0; k < width; k += lanes) {
        vec z = load(r + k) * load(inverse + k);
        rz_lanes += load(r + k) * z;
        store(p + k, z);
        store(moved + k, vec{});
    }
    float rz = sum(rz_lanes);
    const float solved = rz * als_relative < als_absolute ? als_absolute : rz * als_relative;
    double gained = 0;
    for (int64_t step = 0; step < rows.steps && rz > solved; ++step) {
        vec pq_lanes = {};
        for (int64_t k = 0; k < width; k += lanes) store(q + k, load(diagonal + k) * load(p + k));
        over_groups(rows, row, ahead, [&](const float *const(&y)[group], vec c, vec) {
            axpy_group(y, c * dot_group(y, p, width), q, width);
        });
        for (int64_t k = 0; k < width; k += lanes) pq_lanes += load(p + k) * load(q + k);
        const float pq = sum(pq_lanes);
        if (!(pq > 0)) break;  // only when a negative weight makes the system indefinite
        const float length = rz / pq;
        gained += double(length) * rz;
        const vec along = vec{} + length;
        vec next_lanes = {};
        for (int64_t k = 0; k < width; k += lanes) {
            store(moved + k, load(moved + k) + along * load(p + k));
            vec left = load(r + k) - along * load(q + k);
            store(r + k, left);
            next_lanes += left * (left * load(inverse + k));
        }
        const float next = sum(next_lanes);
        const vec beta = vec{} + next / rz;
        for (int64_t k = 0; k < width; k += lanes) store(p + k, load(r + k) * load(inverse + k) + beta * load(p + k));
        rz = next;
    }
    // Along the line from the start to the solution f falls by w (2 - w) times what it gains at w = 1.
    const vec relaxation = vec{} + rows.relaxation;
    for (int64_t k = 0; k < width; k += lanes) store(x + k, load(x + k) + relaxation * load(moved + k));
    *loss = value - double(rows.relaxation) * (2.0 - rows.relaxation) * gained;
}

inline Row row_of(const AlsRows &rows, int64_t at) {
    const int64_t begin = rows.indptr[at];
    return {rows.indices + begin, rows.weights ? rows.weights + begin : nullptr, rows.indptr[at + 1] - begin};
}

// The same system, written out in double precision, packed by rows of its lower triangle, and solved by Cholesky.
void solve_row_exactly(const AlsRows &rows, const Row &row, float penalty, float *x, double *loss, double *scratch) {
    const int64_t width = rows.width;
    double *solution = scratch, *system = scratch + width, constant = 0;
    std::memset(scratch, 0, static_cast<size_t>(width + width * (width + 1) / 2) * sizeof(double));
    for (int64_t at = 0; at < row.count; ++at) {  // A = D + sum c y y',  b = sum (c + shift) y
        const float *y = rows.factors + row.columns[at] * width;
        const double c = row.weights ? row.weights[at] : rows.weight;
        double *line = system;
        for (int64_t i = 0; i < width; line += ++i) {
            const double cy = c * y[i];
            for (int64_t j = 0; j <= i; ++j) line[j] += cy * y[j];
            solution[i] += (c + rows.shift) * y[i];
        }
        constant += c + rows.shift;
    }
    double *line = system;
    for (int64_t i = 0; i < width; line += ++i) {  // A = L L', and L z = b on the way
        line[i] += double(rows.dense[i]) + penalty;
        double *above = system;
        for (int64_t j = 0; j < i; above += ++j) {
            double sum = line[j];
            for (int64_t k = 0; k < j; ++k) sum -= line[k] * above[k];
            line[j] = sum / above[j];
        }
        for (int64_t k = 0; k < i; ++k) {
            line[i] -= line[k] * line[k];
            solution[i] -= line[k] * solution[k];
        }
        line[i] = line[i] > 0 ? __builtin_sqrt(line[i]) : 0;
        // A pivot that is not positive belongs to a direction no data and no penalty decide: it stays 0.
        solution[i] = line[i] > 0 ? solution[i] / line[i] : 0;
        if (!(line[i] > 0)) line[i] = 1;
        constant -= solution[i] * solution[i];  // b' A^-1 b = |z|^2
    }
    for (int64_t i = width; i-- > 0;) {  // L' x = z
        line = system + i * (i + 1) / 2;
        solution[i] /= line[i];
        for (int64_t k = 0; k < i; ++k) solution[k] -= line[k] * solution[i];
        x[i] = static_cast<float>(solution[i]);
    }
    *loss = constant;
}

}  // namespace

void als_exact_block(const AlsRows &rows, int64_t begin, int64_t end, double *scratch) {
    for (int64_t at = begin; at < end; ++at) {
        const int64_t u = rows.order[at];
        solve_row_exactly(rows, row_of(rows, u), rows.penalty[u], rows.x + u * rows.width, rows.loss + u, scratch);
    }
}

void als_block(const AlsRows &rows, int64_t begin, int64_t end, float *scratch) {
    for (int64_t at = begin; at < end; ++at) {
        const int64_t u = rows.order[at];
        const Row row = row_of(rows, u);
        float *x = rows.x + u * rows.width;
        if (row.count) {
            Ahead ahead = {rows.factors, nullptr, 0, 0, rows.width};
            if (at + 1 < end) {
                const Row next = row_of(rows, rows.order[at + 1]);
                const int64_t groups = (row.count + group - 1) / group * (rows.steps + 1);
                ahead = {rows.factors, next.columns, next.count, (next.count + groups - 1) / groups, rows.width};
            }
            solve_row(rows, row, ahead, rows.penalty[u], x, rows.loss + u, scratch);
        } else {
            std::memset(x, 0, static_cast<size_t>(rows.width) * sizeof(float));
            rows.loss[u] = 0;
        }
    }
}

}  // namespace RECSYS_ISA
}  // namespace recsys
