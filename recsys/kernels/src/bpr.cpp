// Stochastic gradient steps on BPR, WARP and sampled softmax. Compiled once per instruction set (RECSYS_ISA).
//
// All three come down to the same step: scores of the positive and its negatives, a coefficient for each of them
// (minus the derivative of the loss by the score), and x_u and the rows y moved along coefficient times the other.
#include "bpr.hpp"

#include "simd.hpp"

namespace recsys {
namespace RECSYS_ISA {
namespace {

constexpr int group = 8;

// A positive and the negatives drawn for it, as rows of y; the positive comes first.
struct Sample {
    int32_t count;  // 0 where the user has too much to find a negative
    int32_t *rows;
};

Sample sample(const BprBlocks &args, int64_t place, int32_t *rows) {
    const int32_t u = args.users[place];
    const int32_t *items = args.indices + args.indptr[u];
    const int64_t count = args.indptr[u + 1] - args.indptr[u], draws = draws_of(args.negatives);
    int32_t found = 0;
    rows[0] = args.items[place];
    fetch(args.x + u * args.width, args.width);
    fetch(args.y + rows[0] * args.width, args.width);
    for (int64_t k = 0; k < draws && found < args.negatives && count < args.n_items; ++k) {
        const int32_t item = drawn(args.key, uint64_t(place * draws + k), args.n_items, args.threshold, args.alias);
        rows[found + 1] = item;
        if (has(items, count, item)) continue;
        fetch(args.y + item * args.width, args.width);
        ++found;
    }
    return {found, rows};
}

inline float dot(const float *x, const float *y, int64_t width) {
    vec even = {}, odd = {};
    int64_t k = 0;
    for (; k + 2 * lanes <= width; k += 2 * lanes) {
        even += load(x + k) * load(y + k);
        odd += load(x + k + lanes) * load(y + k + lanes);
    }
    if (k < width) even += load(x + k) * load(y + k);
    return sum(even + odd);
}

// Eight rows at a time come out of one reduction.
inline void score(const BprBlocks &args, const float *x, const Sample &sample, float *scores) {
    const int64_t width = args.width;
    int32_t r = 0;
    for (; r + group <= sample.count + 1; r += group) {
        const float *y[group];
        for (int i = 0; i < group; ++i) y[i] = args.y + sample.rows[r + i] * width;
        vec acc[group] = {};
        for (int64_t k = 0; k < width; k += lanes) {
            vec of_user = load(x + k);
            RECSYS_HOLD(of_user);
#pragma GCC unroll 8
            for (int i = 0; i < group; ++i) acc[i] += of_user * load(y[i] + k);
        }
        store(scores + r, reduce(acc));
    }
    for (; r <= sample.count; ++r) scores[r] = dot(x, args.y + sample.rows[r] * width, width);
    for (r = 0; r <= sample.count; ++r) scores[r] += args.bias[sample.rows[r]];
}

// Scores become coefficients, and what has none is left out of the sample; returns the loss where no logarithm is due.
double derive(const BprBlocks &args, Sample &sample, float *values, LogSum &logs) {
    if (args.loss == Ranking::softmax) {
        logs.add(softmax(values, sample.rows, sample.count, args.log_q));
        return 0;
    }
    int32_t r;
    double loss = 0;
    if (args.loss == Ranking::bpr) {
        float factor;
        r = bpr(values, sample.count, &factor);
        logs.add(factor);
    } else {
        r = within_margin(values, 1, sample.count + 1);
        if (r) loss = warp(values, r, r, args.n_items);
    }
    sample.rows[1] = sample.rows[r];
    sample.count = r > 0;
    return loss;
}

inline float rate(float learning_rate, float *sum, float squared) {
    if (!sum) return learning_rate;
    *sum += squared;
    return learning_rate / __builtin_sqrtf(*sum);
}

inline float *at(float *sums, int64_t row) { return sums ? sums + row : nullptr; }

void step(const BprBlocks &args, int32_t u, const Sample &sample, const float *coefficients, float *gradient) {
    const int64_t width = args.width;
    float *x = args.x + u * width;
    const float squared = args.x_sum ? dot(x, x, width) : 0, reg = args.regularization;
    for (int32_t r = 0; r <= sample.count; ++r) {
        const int64_t row = sample.rows[r];
        const float c = coefficients[r], c2 = c * c;
        const float of_bias = rate(args.learning_rate, at(args.bias_sum, row), c2);
        args.bias[row] += of_bias * (c - reg * args.bias[row]);
        const float of_row = rate(args.learning_rate, at(args.y_sum, row), c2 * squared);
        const vec along = vec{} + of_row * c, kept = vec{} + (1 - of_row * reg), weight = vec{} + c;
        float *y = args.y + row * width;
        for (int64_t k = 0; k < width; k += lanes) {
            const vec old = load(y + k), before = r ? load(gradient + k) : vec{};
            store(gradient + k, before + weight * old);
            store(y + k, kept * old + along * load(x + k));
        }
    }
    const float of_user = rate(args.learning_rate, at(args.x_sum, u), args.x_sum ? dot(gradient, gradient, width) : 0);
    const vec along = vec{} + of_user, kept = vec{} + (1 - of_user * reg);
    for (int64_t k = 0; k < width; k += lanes) store(x + k, kept * load(x + k) + along * load(gradient + k));
}

}  // namespace

double bpr_range(const BprBlocks &args, int64_t begin, int64_t end, float *reals, int32_t *rows) {
    float *gradient = reals, *values = reals + args.width;
    LogSum logs;
    double loss = 0;
    for (int64_t block = begin; block < end; ++block) {
        const int64_t first = args.blocks[block] * args.block_size, behind = first + args.block_size;
        const int64_t last = behind < args.n ? behind : args.n;
        Sample ring[bpr_ahead + 1];
        for (int64_t place = first; place < last + bpr_ahead; ++place) {
            const int64_t slot = place % (bpr_ahead + 1);
            if (place < last) ring[slot] = sample(args, place, rows + slot * (args.negatives + 2));
            const int64_t now = place - bpr_ahead;
            if (now < first) continue;
            Sample &current = ring[now % (bpr_ahead + 1)];
            if (!current.count) continue;
            const int32_t u = args.users[now];
            score(args, args.x + u * args.width, current, values);
            loss += derive(args, current, values, logs);
            if (current.count) step(args, u, current, values, gradient);
        }
    }
    logs.flush();
    return loss + logs.sum;
}

}  // namespace RECSYS_ISA
}  // namespace recsys
