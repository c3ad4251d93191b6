// Rows of the table, and the draws of a positive: a part of fm_rank.cpp, included once per instruction set.
#pragma once

#include "fm_rank.hpp"

namespace recsys {
namespace RECSYS_ISA {
namespace {

constexpr int few_at_once = 2;  // candidates drawn and scored together for WARP

// Features of a row of the table.
struct Row {
    const int32_t *features;
    const float *values;  // null: all 1
    int64_t count;
};

inline Row row(const FmRank &args, int64_t r) {
    const int64_t begin = args.indptr[r];
    return {args.features + begin, args.values ? args.values + begin : nullptr, args.indptr[r + 1] - begin};
}

// A table of ids alone. The functions below are compiled for it once more, without what a row of more than that needs.
struct OfIds : FmRank {};
inline Row row(const OfIds &args, int64_t r) { return {args.features + r, nullptr, 1}; }

template <class Args>
inline Row item_row(const Args &args, int32_t item) {
    return row(args, args.first_item + item);
}

// One feature of value 1, as an id is: its vector is the sum, and all of its own interactions cancel.
inline bool is_id(const Row &row) { return row.count == 1 && (!row.values || row.values[0] == 1); }

inline float value(const Row &row, int64_t k) { return row.values ? row.values[k] : 1; }

// A positive and the negatives drawn for it; the positive comes first.
struct Sample {
    const int32_t *has;  // items of the user
    int64_t n_has, next;
    int32_t count;  // negatives so far; 0 where the user has too much to find one
    int32_t *items;
};

// Only the first feature, which is mostly an id; what comes after it is shared by many rows, and in the cache.
template <class Args>
inline void fetch_query(const Args &args, const Row &row) {
    if (row.count) fetch(args.vectors + row.features[0] * args.width, args.width);
}

template <class Args>
inline void fetch_item(const Args &args, const Row &row) {
    if (!row.count) return;
    const int64_t first = row.features[0];
    fetch(args.vectors + first * args.width, args.width);
    __builtin_prefetch(args.weights + first, 1, 2);
    if (!args.vector_sums) return;
    __builtin_prefetch(args.vector_sums + first, 1, 2);
    __builtin_prefetch(args.weight_sums + first, 1, 2);
}

// Draws until there are `wanted` negatives, or no draws left.
template <class Args>
inline void draw(const Args &args, int64_t place, Sample &sample, int64_t wanted) {
    const int64_t draws = draws_of(args.negatives), first = place / args.block_size * args.block_size;
    const int64_t length = args.n - first < args.block_size ? args.n - first : args.block_size;
    while (sample.count < wanted && sample.next < draws) {
        const uint64_t counter = uint64_t(place * draws + sample.next++);
        const int32_t item =
            args.in_batch ? args.items[first + drawn(args.key, counter, length, nullptr, nullptr)]
                          : args.candidates[drawn(args.key, counter, args.n_candidates, args.threshold, args.alias)];
        if (has(sample.has, sample.n_has, item)) continue;
        sample.items[++sample.count] = item;
        fetch_item(args, item_row(args, item));
    }
}

// Draws for a positive, but for WARP, which mostly needs no more, only the first few.
template <class Args>
inline void begin(const Args &args, int64_t place, Sample &sample) {
    const int64_t first = args.user_indptr[args.users[place]], behind = args.user_indptr[args.users[place] + 1];
    sample.has = args.user_items + first, sample.n_has = behind - first;
    sample.next = sample.count = 0;
    if (args.sample_weight && args.sample_weight[place] == 0) return;
    sample.items[0] = args.items[place];
    fetch_item(args, item_row(args, sample.items[0]));
    for (int64_t b = 0; b < args.n_query; ++b) fetch_query(args, row(args, args.query_rows[place * args.n_query + b]));
    const bool lazy = args.loss == Ranking::warp && args.negatives >= few_at_once;
    draw(args, place, sample, lazy ? few_at_once - 1 : args.negatives);
}

}  // namespace
}  // namespace RECSYS_ISA
}  // namespace recsys
