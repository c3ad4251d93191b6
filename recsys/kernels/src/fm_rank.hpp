// Stochastic gradient steps on ranking losses of factorization machines: each positive against negatives drawn for it.
#pragma once

#include <cstdint>

#include "ranking.hpp"

namespace recsys {

// With P = sum_j x_j v_j over the features of the query, and q_i the same sum over those of item i, the score of an item
// is <P, q_i> + sum_j x_j w_j + 1/2 (|q_i|^2 - sum_j x_j^2 |v_j|^2); the rest of the prediction is alike for all items.
// The draws of a positive are hashes of (key, its place), so that they depend neither on threads nor on the order of
// the blocks.
struct FmRank {
    const int32_t *users;          // IN (n) whose items are never drawn
    const int32_t *query_rows;     // IN (n, n_query) rows of the table
    const int32_t *items;          // IN (n) the positives
    const float *sample_weight;    // IN (n), or null: all 1; what has weight 0 is not there
    const int32_t *blocks;         // IN (n_blocks) runs of `block_size` positives, in the order in which to work on them
    const int64_t *indptr;         // IN the table: rows of features, compressed
    const int32_t *features;       // IN
    const float *values;           // IN, or null: all 1
    const int64_t *user_indptr;    // IN (n_users + 1)
    const int32_t *user_items;     // IN the items of each user, ascending
    const uint16_t *user_bits;     // IN sixteen bits for each of them; those are set that an item of the user hashes to
    const int32_t *candidates;     // IN (n_candidates) the items that are drawn
    const uint32_t *threshold;     // IN (n_candidates) alias table, or null: all candidates alike
    const int32_t *alias;          // IN (n_candidates)
    const float *log_q;            // IN (n_items) log of the probability of a draw
    bool only_ids;                 // all rows of the table have one feature, of value 1
    bool in_batch;                 // draw the item of a positive of the same block instead
    int64_t n, n_blocks, block_size, n_query, first_item, n_candidates, width, negatives;  // width is a multiple of 8
    uint64_t key;
    Ranking loss;
    float learning_rate, regularization, weight_regularization;
    float *vectors, *weights;          // INOUT (n_features, width), (n_features)
    float *vector_sums, *weight_sums;  // INOUT (n_features) AdaGrad: squared gradients, summed; null: plain steps
    int64_t n_items;
    float *item_vectors, *item_scores;  // SCRATCH (n_items, width), (n_items) q_i, and the score of i to P = 0; or null
};

constexpr int64_t fm_rank_ahead = 4;  // negatives are drawn, and vectors fetched, that many positives ahead
constexpr int64_t fm_rank_screened = 2;  // negatives are screened by the table of items that many positives ahead
constexpr int64_t fm_rank_group = 4;  // candidates scored together

// Scratch of one thread, in floats, and per positive ahead in items and rows.
inline int64_t fm_rank_places(int64_t negatives) { return draws_of(negatives) + 1 + fm_rank_group; }
inline int64_t fm_rank_reals(int64_t width, int64_t negatives) {
    return (width + fm_rank_ahead + 2) * fm_rank_places(negatives) + 2 * width;
}

#define RECSYS_DECLARE(isa)                                                                                         \
    namespace isa {                                                                                                 \
    double fm_rank_range(const FmRank &args, int64_t begin, int64_t end, float *reals, int32_t *items);                 \
    void fm_rank_items(const FmRank &args, int64_t begin, int64_t end, float *reals);                                   \
    }
RECSYS_DECLARE(base)
RECSYS_DECLARE(v3)
RECSYS_DECLARE(v4)
#undef RECSYS_DECLARE

}  // namespace recsys
