// Scores of queries and items: a part of topk.cpp and of scan.cpp, included once per instruction set.
//
// The score of a (query, item) pair is summed in one fixed order, whatever the block it is computed in, so that a
// batch, a single request and any number of threads agree to the bit:
//   lane l collects  sum_j q[8j + l] y[8j + l],  then the lanes are added up by reduce().
#pragma once

#include "simd.hpp"
#include "topk.hpp"

namespace recsys {
namespace RECSYS_ISA {
namespace {

// Scores of Q queries (rows of `queries`, padded to `padded`) and 8 / Q items, written to out[q * item_block + i].
// The tail is a template so that without one the accumulators never leave the registers.
template <int Q, bool has_tail>
inline void score_tile(const float *queries, int64_t padded, const float *items, int64_t width, float *out) {
    constexpr int I = 8 / Q;
    vec acc[8] = {};
    int64_t j = 0;
    for (; j + lanes <= width; j += lanes) {
        vec y[I];
#pragma GCC unroll 8
        for (int i = 0; i < I; ++i) {
            y[i] = load(items + i * width + j);
            RECSYS_HOLD(y[i]);
        }
#pragma GCC unroll 8
        for (int q = 0; q < Q; ++q) {
            vec x = load(queries + q * padded + j);
            RECSYS_HOLD(x);
#pragma GCC unroll 8
            for (int i = 0; i < I; ++i) acc[q * I + i] += x * y[i];
        }
    }
    if (has_tail) {
#pragma GCC unroll 8
        for (int i = 0; i < I; ++i) {
            vec y = load_tail(items + i * width + j, width - j);
#pragma GCC unroll 8
            for (int q = 0; q < Q; ++q) acc[q * I + i] += load(queries + q * padded + j) * y;
        }
    }
    vec sums = reduce(acc);
    for (int q = 0; q < Q; ++q) std::memcpy(out + q * item_block, reinterpret_cast<float *>(&sums) + q * I, I * sizeof(float));
}

// One query, padded with zeros to whole vectors, and one item.
inline float score_one(const float *query, const float *item, int64_t width) {
    vec acc[8] = {};
    int64_t j = 0;
    for (; j + lanes <= width; j += lanes) acc[0] += load(query + j) * load(item + j);
    if (j < width) acc[0] += load(query + j) * load_tail(item + j, width - j);
    return reduce(acc)[0];
}

template <int Q, bool has_tail>
void score_items(const float *queries, int64_t padded, const float *items, int64_t n_items, int64_t width, float *out) {
    constexpr int64_t I = 8 / Q;
    int64_t i = 0;
    for (; i + I <= n_items; i += I) score_tile<Q, has_tail>(queries, padded, items + i * width, width, out + i);
    for (; i < n_items; ++i)  // the last few one by one: the same sums in the same order
        for (int q = 0; q < Q; ++q) out[q * item_block + i] = score_one(queries + q * padded, items + i * width, width);
}

}  // namespace
}  // namespace RECSYS_ISA
}  // namespace recsys
