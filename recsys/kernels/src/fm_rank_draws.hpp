// Rows of the table, and the draws of a positive: a part of fm_rank.cpp, included once per instruction set.
#pragma once

#include <type_traits>

#include "fm_rank.hpp"
#include "simd.hpp"

namespace recsys {
namespace RECSYS_ISA {
namespace {

#if defined(__AVX512F__)
typedef vec16 of_rows;
#else
typedef vec of_rows;  // four rows side by side, in sixteens, are more than there are registers
#endif

// The arguments as the functions below see them, which are compiled once for each view: a table of ids alone needs less
// than one of rows of features, and a width that is known needs no loops. Width 0 stands for any multiple of 8.
template <bool of_ids, int64_t known>
struct View : FmRank {
    static constexpr bool ids = of_ids;
    typedef std::conditional_t<of_ids, vec16, of_rows> Vec;
    static constexpr int64_t width = known, lanes = sizeof(Vec) / sizeof(float);
};

template <bool of_ids>
struct View<of_ids, 0> : FmRank {
    static constexpr bool ids = of_ids;
    typedef vec Vec;
    static constexpr int64_t lanes = ::lanes;
};

// Features of a row of the table.
struct Row {
    const int32_t *features;
    const float *values;  // null: all 1
    int64_t count;
};

template <class Args>
inline Row row(const Args &args, int64_t r) {
    if (Args::ids) return {args.features + r, nullptr, 1};
    const int64_t begin = args.indptr[r];
    return {args.features + begin, args.values ? args.values + begin : nullptr, args.indptr[r + 1] - begin};
}

template <class Args>
inline Row item_row(const Args &args, int32_t item) {
    return row(args, args.first_item + item);
}

// One feature of value 1, as an id is: its vector is the sum, and all of its own interactions cancel.
inline bool is_id(const Row &row) { return row.count == 1 && (!row.values || row.values[0] == 1); }

inline float value(const Row &row, int64_t k) { return row.values ? row.values[k] : 1; }

struct Entry {
    int64_t feature;
    float x;
};

constexpr int32_t first_feature = 0;
constexpr float zero = 0;
constexpr Row nothing = {&first_feature, &zero, 1};  // what an empty row is read as beside others that are not

// Behind the end of the row its last feature, with value 0.
inline Entry padded(const Row &row, int64_t k) {
    const int64_t at = k < row.count ? k : row.count - 1;
    const float x = value(row, at);
    return {row.features[at], k < row.count ? x : 0};
}

// A positive and the negatives drawn for it; the positive comes first.
struct Sample {
    const int32_t *has;  // items of the user
    int64_t n_has, next;
    int32_t count;  // negatives so far; 0 where the user has too much to find one
    int32_t *items;
};

// What the users of positives to come have.
template <class Args>
__attribute__((always_inline)) inline void fetch_lists(const Args &args, int64_t place, int64_t last) {
    const int64_t ahead = place + fm_rank_ahead, further = ahead + fm_rank_ahead;
    if (further < last) __builtin_prefetch(args.user_indptr + args.users[further]);
    if (ahead >= last) return;
    const int32_t *list = args.user_items + args.user_indptr[args.users[ahead]];
    __builtin_prefetch(list);
    __builtin_prefetch(list + 16);
}

// Only the first feature, which is mostly an id; what comes after it is shared by many rows, and in the cache.
template <class Args>
__attribute__((always_inline)) inline void fetch_query(const Args &args, const Row &row) {
    if (!row.count) return;
    const int64_t first = row.features[0];
    fetch(args.vectors + first * args.width, args.width);
    if (args.vector_sums) __builtin_prefetch(args.vector_sums + first, 1, 2);
}

// The sums are fetched of what surely moves.
template <class Args>
__attribute__((always_inline)) inline void fetch_item(const Args &args, const Row &row, bool moves) {
    if (!row.count) return;
    const int64_t first = row.features[0];
    fetch(args.vectors + first * args.width, args.width);
    __builtin_prefetch(args.weights + first, 1, 2);
    if (!moves || !args.vector_sums) return;
    __builtin_prefetch(args.vector_sums + first, 1, 2);
    __builtin_prefetch(args.weight_sums + first, 1, 2);
}

// Draws until there are `wanted` negatives, or no draws left. For WARP these may be items the user has: most of what is
// drawn is not within the margin, and whether the user has that does not matter.
template <class Args>
inline void draw(const Args &args, int64_t place, Sample &sample, int64_t wanted) {
    const int64_t draws = draws_of(args.negatives), first = place / args.block_size * args.block_size;
    const int64_t length = args.n - first < args.block_size ? args.n - first : args.block_size;
    while (sample.count < wanted && sample.next < draws) {
        const uint64_t counter = uint64_t(place * draws + sample.next++);
        const int32_t item =
            args.in_batch ? args.items[first + drawn(args.key, counter, length, nullptr, nullptr)]
                          : args.candidates[drawn(args.key, counter, args.n_candidates, args.threshold, args.alias)];
        if (args.loss != Ranking::warp && has(sample.has, sample.n_has, item)) continue;
        sample.items[++sample.count] = item;
        fetch_item(args, item_row(args, item), args.loss == Ranking::softmax);
    }
}

// Draws for a positive; for WARP, which often needs no more, those of the first group.
template <class Args>
inline void begin(const Args &args, int64_t place, Sample &sample) {
    const int64_t first = args.user_indptr[args.users[place]], behind = args.user_indptr[args.users[place] + 1];
    sample.has = args.user_items + first, sample.n_has = behind - first;
    sample.next = sample.count = 0;
    if (args.sample_weight && args.sample_weight[place] == 0) return;
    sample.items[0] = args.items[place];
    fetch_item(args, item_row(args, sample.items[0]), true);
    for (int64_t b = 0; b < args.n_query; ++b) fetch_query(args, row(args, args.query_rows[place * args.n_query + b]));
    draw(args, place, sample, args.loss == Ranking::warp ? fm_rank_group - 1 : args.negatives);
}

}  // namespace
}  // namespace RECSYS_ISA
}  // namespace recsys
