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

// Whether negatives are first scored by a table of q_i, which ids are by themselves.
template <class Args>
inline bool screens(const Args &args) { return !Args::ids && args.item_vectors; }

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
    const uint16_t *bits;
    int64_t n_has, next;
    int32_t count;  // negatives so far; 0 where the user has too much to find one
    int32_t *items;
    float *scores;  // of WARP's search
    int32_t scored, last, near;  // how many have one, how far it may go, and where it is: 0 at its end
};

// Which of the sixteen bits an item of a user are those of an item (a filter of one hash; Bloom 1970).
inline uint64_t bit_of(const Sample &sample, int32_t item) {
    return uint64_t(uint32_t(item) * 0x9e3779b1u) * uint64_t(sample.n_has) >> 28;
}

// Most of what a user does not have is found so in one place of memory.
inline bool taken(const Sample &sample, int32_t item) {
    if (!sample.n_has) return false;
    const uint64_t bit = bit_of(sample, item);
    return sample.bits[bit / 16] >> bit % 16 & 1 && has(sample.has, sample.n_has, item);
}

// Rows of the table that a positive consists of: those of its query, and its item.
template <class Args>
inline int64_t row_of(const Args &args, int64_t place, int64_t b) {
    return b < args.n_query ? args.query_rows[place * args.n_query + b] : args.first_item + args.items[place];
}

// What the rows of positives to come are read from.
template <class Args>
__attribute__((always_inline)) inline void fetch_lists(const Args &args, int64_t place, int64_t last) {
    const int64_t ahead = place + fm_rank_ahead, further = ahead + fm_rank_ahead;
    if (further < last) {
        __builtin_prefetch(args.user_indptr + args.users[further]);
        for (int64_t b = 0; b <= args.n_query; ++b) {
            const int64_t r = row_of(args, further, b);
            if (Args::ids) __builtin_prefetch(args.features + r);
            else __builtin_prefetch(args.indptr + r);
        }
    }
    for (int64_t b = 0; !Args::ids && ahead < last && b <= args.n_query; ++b)
        __builtin_prefetch(args.features + args.indptr[row_of(args, ahead, b)]);
}

// What a feature moves with, and the sums of what surely moves.
template <class Args>
__attribute__((always_inline)) inline void fetch_feature(const Args &args, int64_t j, bool weighs, bool moves) {
    fetch(args.vectors + j * args.width, args.width);
    if (weighs) __builtin_prefetch(args.weights + j, 1, 2);
    if (!moves || !args.vector_sums) return;
    __builtin_prefetch(args.vector_sums + j, 1, 2);
    if (weighs) __builtin_prefetch(args.weight_sums + j, 1, 2);
}

template <class Args>
__attribute__((always_inline)) inline void fetch_row(const Args &args, const Row &row, bool weighs, bool moves) {
    for (int64_t at = 0; at < row.count; ++at) fetch_feature(args, row.features[at], weighs, moves);
}

template <class Args>
__attribute__((always_inline)) inline void fetch_negative(const Args &args, int32_t item) {
    if (!screens(args)) return fetch_row(args, item_row(args, item), true, args.loss == Ranking::softmax);
    fetch(args.item_vectors + item * args.width, args.width);
    __builtin_prefetch(args.item_scores + item);
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
        if (args.loss != Ranking::warp && taken(sample, item)) continue;
        sample.items[++sample.count] = item;
        fetch_negative(args, item);
        if (args.loss == Ranking::warp) __builtin_prefetch(sample.bits + bit_of(sample, item) / 16);
    }
}

// Draws for a positive; for WARP, which often needs no more, those of the first group.
template <class Args>
inline void begin(const Args &args, int64_t place, Sample &sample) {
    const int64_t first = args.user_indptr[args.users[place]], behind = args.user_indptr[args.users[place] + 1];
    sample.has = args.user_items + first, sample.bits = args.user_bits + first, sample.n_has = behind - first;
    sample.next = sample.count = sample.scored = sample.near = 0, sample.last = int32_t(args.negatives);
    if (args.sample_weight && args.sample_weight[place] == 0) return;
    sample.items[0] = args.items[place];
    fetch_row(args, item_row(args, sample.items[0]), true, true);
    for (int64_t b = 0; b < args.n_query; ++b)
        fetch_row(args, row(args, args.query_rows[place * args.n_query + b]), false, true);
    draw(args, place, sample, args.loss == Ranking::warp ? fm_rank_group - 1 : args.negatives);
}

}  // namespace
}  // namespace RECSYS_ISA
}  // namespace recsys
