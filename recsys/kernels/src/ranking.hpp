// What the ranking losses share: draws, membership, and the coefficients the losses give to scores. A coefficient is
// minus the derivative of the loss by that score.
//
// Anonymous and without the standard library, for the reason given in simd.hpp.
#pragma once

#include <cstdint>

namespace recsys {

enum class Ranking { bpr, warp, softmax };

}  // namespace recsys

namespace {

constexpr int64_t few = 32;        // items that are looked through in vectors, which does not wait for one another
constexpr float score_limit = 30;  // of differences of scores: exp stays finite, and the gradient is 0 or 1 by then

// splitmix64 (Steele, Lea and Flood 2014).
inline uint64_t mixed(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

// One of `count` slots: all alike without an alias table (Walker 1977).
inline int32_t drawn(uint64_t key, uint64_t counter, int64_t count, const uint32_t *threshold, const int32_t *alias) {
    const uint64_t bits = mixed(key + counter * 0x9e3779b97f4a7c15u);
    const int32_t slot = int32_t(((bits >> 32) * uint64_t(count)) >> 32);
    if (!threshold || uint32_t(bits) < threshold[slot]) return slot;
    return alias[slot];
}

// How often a positive may draw: more often than it needs negatives, because the user may have what is drawn.
inline int64_t draws_of(int64_t negatives) { return 2 * negatives + 30; }

inline bool has(const int32_t *items, int64_t count, int32_t item) {
    while (count > few) {  // a mask, not a branch that nobody can predict
        const int64_t half = count / 2;
        items += half & -int64_t(items[half - 1] < item);
        count -= half;
    }
    int32_t found = 0;
    if (count < 8) {
        for (int64_t k = 0; k < count; ++k) found |= items[k] == item;
        return found;
    }
    typedef int32_t ints __attribute__((vector_size(32)));
    ints hit = {}, some;
    for (int64_t k = 0; k < count; k += 8) {  // the last eight overlap with those before
        __builtin_memcpy(&some, items + (k + 8 <= count ? k : count - 8), sizeof some);
        hit |= some == item;
    }
    for (int i = 0; i < 8; ++i) found |= hit[i];
    return found;
}

// Always in line: the compiler takes a function that only prefetches for one without effect, and drops calls of it.
__attribute__((always_inline)) inline void fetch(const float *row, int64_t width) {
    for (int64_t k = 0; k < width; k += 16) __builtin_prefetch(row + k, 1, 2);
}

inline float clipped(float difference) {  // NaN stays NaN
    return difference > score_limit ? score_limit : difference < -score_limit ? -score_limit : difference;
}

// Sum of logarithms, one logarithm for sixteen factors. Each is at most the exponential of the limit, and some.
struct LogSum {
    double sum = 0, product = 1;
    int count = 0;

    void add(float factor) {
        product *= factor;
        if (++count == 16) flush();
    }
    void flush() {
        sum += __builtin_log(product);
        product = 1, count = 0;
    }
};

// BPR: -log sigmoid(s_i - s_j), j the highest of the negatives. values[0] is the score of the positive; it and values[1]
// become the coefficients of the positive and of j, which is returned. The loss is log(*factor).
inline int32_t bpr(float *values, int32_t count, float *factor) {
    int32_t hardest = 1;
    for (int32_t r = 2; r <= count; ++r)
        if (values[r] > values[hardest]) hardest = r;
    const float e = __builtin_expf(clipped(values[hardest] - values[0]));
    *factor = 1 + e;
    values[0] = e / (1 + e), values[1] = -values[0];
    return hardest;
}

// The first of the negatives from `begin` up to `end` that is not below the positive by 1, or 0.
inline int32_t within_margin(const float *values, int32_t begin, int32_t end) {
    for (int32_t r = begin; r < end; ++r)
        if (!(1 - values[0] + values[r] <= 0)) return r;
    return 0;
}

// WARP: log(1 + rank) / log(n_items) (1 - s_i + s_j), j the first negative within the margin, rank = (n_items - 1) / its
// place among the draws. values[r] is its score. Coefficients as for BPR; returns the loss.
inline double warp(float *values, int32_t r, int32_t place, int64_t n_items) {
    const float hinge = 1 - values[0] + values[r];
    const float weight = __builtin_logf(float(1 + (n_items - 1) / place)) / __builtin_logf(float(n_items));
    values[0] = weight, values[1] = -weight;
    return double(weight) * hinge;
}

// Softmax: -log p_i, p ~ exp(s) over the positive and the negatives, these weighted 1 / (n q): with that the
// denominator is in expectation the one over the whole catalogue (Bengio and Senecal 2008). All values become
// coefficients; the loss is log of what is returned.
inline float softmax(float *values, const int32_t *items, int32_t count, const float *log_q) {
    const float log_n = __builtin_logf(float(count)), s = values[0];
    float total = 1;
    for (int32_t r = 1; r <= count; ++r)
        total += values[r] = __builtin_expf(clipped(values[r] - s - log_n - log_q[items[r]]));
    for (int32_t r = 1; r <= count; ++r) values[r] /= -total;
    values[0] = 1 - 1 / total;
    return total;
}

}  // namespace
