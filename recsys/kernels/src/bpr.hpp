// Stochastic gradient steps on ranking losses: each positive against negatives drawn for it.
#pragma once

#include <cstdint>

#include "ranking.hpp"

namespace recsys {

// score(u, i) = x_u . y_i + b_i. The draws of a positive are hashes of (key, its place), so that they depend neither on
// threads nor on the order of the blocks.
struct BprBlocks {
    const int32_t *users, *items;  // IN (n) the positives
    const int32_t *blocks;         // IN (n_blocks) runs of `block_size` positives, in the order in which to work on them
    const int64_t *indptr;         // IN (n_users + 1)
    const int32_t *indices;        // IN the items of each user, ascending: never drawn for that user
    const uint32_t *threshold;     // IN (n_items) alias table, or null: all items alike
    const int32_t *alias;          // IN (n_items)
    const float *log_q;            // IN (n_items) log of the probability of a draw
    int64_t n, n_blocks, block_size, n_items, width, negatives;  // width is a multiple of 8
    uint64_t key;
    Ranking loss;
    float learning_rate, regularization;
    float *x, *y, *bias;              // INOUT (n_users, width), (n_items, width), (n_items)
    float *x_sum, *y_sum, *bias_sum;  // INOUT AdaGrad: squared gradients of each row, summed; null: plain steps
};

constexpr int64_t bpr_ahead = 4;  // negatives are drawn, and their rows fetched, that many positives ahead

// Scratch of one thread, in floats and in int32.
inline int64_t bpr_reals(int64_t width, int64_t negatives) { return width + negatives + 1; }
inline int64_t bpr_rows(int64_t negatives) { return (bpr_ahead + 1) * (negatives + 2); }

#define RECSYS_DECLARE(isa)                                                                           \
    namespace isa {                                                                                   \
    double bpr_range(const BprBlocks &args, int64_t begin, int64_t end, float *reals, int32_t *rows); \
    }
RECSYS_DECLARE(base)
RECSYS_DECLARE(v3)
RECSYS_DECLARE(v4)
#undef RECSYS_DECLARE

}  // namespace recsys
