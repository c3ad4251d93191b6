// Passes over samples and over features of a factorization machine. Compiled once per instruction set (RECSYS_ISA).
#include "fm_sweep.hpp"

#include "simd.hpp"

namespace recsys {
namespace RECSYS_ISA {
namespace {

constexpr int64_t ahead = 8;           // samples between the fetch of a row and its use
constexpr double undecided = 1e-6;     // share of a pivot below which it is rounding
typedef float quad __attribute__((vector_size(fm_group * sizeof(float))));

inline quad load4(const float *from) {
    quad v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

inline void store4(float *to, quad v) { std::memcpy(to, &v, sizeof v); }

inline float sum4(quad v) { return (v[0] + v[1]) + (v[2] + v[3]); }

// What a sample adds to a row, in the order in which it is cheapest to write down; `place` is where that belongs.
constexpr int8_t place[fm_statistics] = {2, 5, 9, 14, 4, 8, 13, 11, 7, 12, 0, 15, 16, 17, 18, 19, 1, 3, 6, 10};

inline void count(float *row, quad o, float e, float weight) {
    const quad wo = weight * o, ones = {1, 1, 1, 1}, last = {weight, weight * e, 0, 0};
    float *to = row + fm_group;
    store4(to, load4(to) + wo * o);
    store4(to + 4, load4(to + 4) + wo * __builtin_shufflevector(o, o, 1, 2, 3, 0));
    store4(to + 8, load4(to + 8) + __builtin_shufflevector(wo, last, 0, 1, 4, 5) * __builtin_shufflevector(o, ones, 2, 3, 4, 4));
    store4(to + 12, load4(to + 12) + e * wo);
    store4(to + 16, load4(to + 16) + wo);
}

template <bool follows, bool counts>
void factor_range(const FmStream &args, int64_t begin, int64_t end, float *buffer) {
    float *const all_q = args.q, *const all_e = args.e;  // a store of q cannot change these, which spares loads
    const float *const moves = args.moves, *const weights = args.weight;
    const int32_t *const moved = args.moved, *const rows = args.rows;
    for (int64_t n = begin; n < end; ++n) {
        const int64_t later = n + ahead < end ? n + ahead : n;
        if (follows) __builtin_prefetch(moves + moved[later] * fm_move);
        if (counts) {
            const float *row = buffer + rows[later] * fm_buffer;
            __builtin_prefetch(row, 1);
            __builtin_prefetch(row + fm_buffer - 1, 1);
        }
        quad q = load4(all_q + n * fm_group);
        float e = all_e[n];
        if (follows) {
            const float *move = moves + moved[n] * fm_move;
            const quad along = load4(move);
            e -= move[fm_group] + sum4(along * q);
            q += along;
            all_e[n] = e;
            store4(all_q + n * fm_group, q);
        }
        if (counts) {
            float *row = buffer + rows[n] * fm_buffer;
            count(row, q - load4(row), e, weights ? weights[n] : 1);
        }
    }
}

void linear_range(const FmStream &args, int64_t begin, int64_t end, float *buffer) {
    for (int64_t n = begin; n < end; ++n) {
        if (args.moved) args.e[n] -= args.moves[args.moved[n]];
        if (!args.rows) continue;
        const float weight = args.weight ? args.weight[n] : 1;
        float *row = buffer + args.rows[n] * 2;
        row[0] += weight;
        row[1] += weight * args.e[n];
    }
}

// A = L L', packed by rows of the lower triangle, and L y = b on the way. A pivot that is rounding belongs to a
// direction that neither data nor prior decides: no step is taken along it.
void factorise(double (&a)[fm_group * (fm_group + 1) / 2], double (&b)[fm_group]) {
    double *line = a;
    for (int64_t i = 0; i < fm_group; line += ++i) {
        const double whole = line[i];
        double *above = a;
        for (int64_t j = 0; j < i; above += ++j) {
            double left = line[j];
            for (int64_t k = 0; k < j; ++k) left -= line[k] * above[k];
            line[j] = above[j] > 0 ? left / above[j] : 0;
            line[i] -= line[j] * line[j];
            b[i] -= line[j] * b[j];
        }
        line[i] = line[i] > undecided * whole ? __builtin_sqrt(line[i]) : 0;
        b[i] = line[i] > 0 ? b[i] / line[i] : 0;
    }
}

// L' x = y + noise.
void substitute(const double (&a)[fm_group * (fm_group + 1) / 2], const float *noise, double (&x)[fm_group]) {
    for (int64_t i = fm_group; i-- > 0;) {
        const double *line = a + i * (i + 1) / 2;
        const bool decided = line[i] > 0;
        x[i] = decided ? (x[i] + (noise ? noise[i] : 0)) / line[i] : 0;
        for (int64_t k = 0; k < i; ++k) x[k] -= line[k] * x[i];
    }
}

// Adds what an entry of the feature, x in row r, says of its factors v: with h = x (o + c), c = sums - x v, the lower
// triangle of sum w h h' to a, and sum w e h to b.
void add_entry(const FmColumns &args, int64_t r, double x, const float *v, double *a, double *b) {
    const float *sums = args.sums + r * fm_group;
    const double *s = args.statistics + r * fm_statistics, *ez = s + fm_triangle;
    double c[fm_group], o[fm_group];
    for (int64_t i = 0; i < fm_group; ++i) {
        c[i] = double(sums[i]) - x * v[i];
        o[i] = s[(i + 1) * (i + 2) / 2];
    }
    for (int64_t i = 0; i < fm_group; a += ++i) {
        const double *oo = s + (i + 1) * (i + 2) / 2 + 1;
        for (int64_t k = 0; k <= i; ++k) a[k] += x * x * (oo[k] + o[i] * c[k] + (o[k] + s[0] * c[k]) * c[i]);
        b[i] += x * (ez[i + 1] + c[i] * ez[0]);
    }
}

// Row r follows a step of v: y of its samples moves by m . z with m = x (step . c, step).
void move_entry(const FmColumns &args, int64_t r, double x, const float *v, const double *step) {
    float *sums = args.sums + r * fm_group, *move = args.moves + r * fm_move;
    const double *line = args.statistics + r * fm_statistics;
    double *ez = args.statistics + r * fm_statistics + fm_triangle;
    double m[fm_group + 1] = {}, start = 0;  // m . (where the sums were when the block began to move)
    for (int64_t i = 0; i < fm_group; ++i) {
        m[i + 1] = x * step[i];
        m[0] += m[i + 1] * (double(sums[i]) - x * v[i]);
        start += m[i + 1] * (double(sums[i]) - move[i]);
    }
    for (int64_t i = 0; i <= fm_group; line += ++i) {
        for (int64_t k = 0; k < i; ++k) {
            ez[i] -= line[k] * m[k];
            ez[k] -= line[k] * m[i];
        }
        ez[i] -= line[i] * m[i];
    }
    for (int64_t i = 0; i < fm_group; ++i) {
        sums[i] += static_cast<float>(m[i + 1]);
        move[i] += static_cast<float>(m[i + 1]);
    }
    move[fm_group] += static_cast<float>(m[0] - start);
}

void solve_factors(const FmColumns &args, int64_t j) {
    float *v = args.factors + j * args.width + args.first;
    const float *precision = args.precision + args.field[j] * fm_group, *mean = args.mean + args.field[j] * fm_group;
    double a[fm_group * (fm_group + 1) / 2] = {}, step[fm_group] = {};
    for (int64_t at = args.indptr[j]; at < args.indptr[j + 1]; ++at)
        add_entry(args, args.rows[at], args.values ? args.values[at] : 1, v, a, step);
    for (double &each : a) each *= args.noise_precision;
    for (int64_t i = 0; i < fm_group; ++i) {
        a[i * (i + 3) / 2] += precision[i];
        step[i] = args.noise_precision * step[i] + double(precision[i]) * (double(mean[i]) - v[i]);
    }
    factorise(a, step);
    substitute(a, args.noise ? args.noise + j * fm_group : nullptr, step);
    float after[fm_group];
    for (int64_t i = 0; i < fm_group; ++i) {
        after[i] = static_cast<float>(v[i] + step[i]);
        step[i] = double(after[i]) - v[i];  // what it is in the end, or sums would drift away from factors
    }
    for (int64_t at = args.indptr[j]; at < args.indptr[j + 1]; ++at)
        move_entry(args, args.rows[at], args.values ? args.values[at] : 1, v, step);
    std::memcpy(v, after, sizeof after);
}

void solve_weight(const FmColumns &args, int64_t j) {
    const double precision = args.precision[args.field[j]];
    double a = 0, b = 0;
    for (int64_t at = args.indptr[j]; at < args.indptr[j + 1]; ++at) {
        const double x = args.values ? args.values[at] : 1, *s = args.statistics + args.rows[at] * 2;
        a += x * x * s[0];
        b += x * s[1];
    }
    a = args.noise_precision * a + precision;
    if (!(a > 0)) return;
    b = args.noise_precision * b + precision * (double(args.mean[args.field[j]]) - args.factors[j]);
    const float after = static_cast<float>(args.factors[j] + b / a + (args.noise ? args.noise[j] / __builtin_sqrt(a) : 0));
    const double step = double(after) - args.factors[j];
    args.factors[j] = after;
    for (int64_t at = args.indptr[j]; at < args.indptr[j + 1]; ++at) {
        const double move = (args.values ? args.values[at] : 1) * step;
        args.statistics[args.rows[at] * 2 + 1] -= args.statistics[args.rows[at] * 2] * move;
        args.moves[args.rows[at]] += static_cast<float>(move);
    }
}

}  // namespace

void fm_stream_range(const FmStream &args, int64_t begin, int64_t end, float *buffer) {
    if (args.rows) {
        const int64_t size = args.q ? fm_buffer : 2;
        std::memset(buffer, 0, static_cast<size_t>(args.n_rows * size) * sizeof(float));
        if (args.q)
            for (int64_t r = 0; r < args.n_rows; ++r) store4(buffer + r * size, load4(args.sums + r * fm_group));
    }
    if (!args.q) return linear_range(args, begin, end, buffer);
    if (!args.rows) return factor_range<true, false>(args, begin, end, buffer);
    if (!args.moved) return factor_range<false, true>(args, begin, end, buffer);
    factor_range<true, true>(args, begin, end, buffer);
}

void fm_stream_add(const FmStream &args, int64_t begin, int64_t end, const float *buffer) {
    for (int64_t r = begin; r < end; ++r) {
        if (!args.q) {
            for (int64_t k = 0; k < 2; ++k) args.statistics[r * 2 + k] += buffer[r * 2 + k];
            continue;
        }
        const float *from = buffer + r * fm_buffer + fm_group;
        for (int64_t k = 0; k < fm_statistics; ++k) args.statistics[r * fm_statistics + place[k]] += from[k];
    }
}

void fm_solve_range(const FmColumns &args, int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; ++j) args.sums ? solve_factors(args, j) : solve_weight(args, j);
}

}  // namespace RECSYS_ISA
}  // namespace recsys
