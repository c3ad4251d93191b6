// Scores of candidates, and the sums of vectors they are made of: a part of fm_rank.cpp, included once per instruction
// set.
#pragma once

#include "fm_rank_draws.hpp"

namespace recsys {
namespace RECSYS_ISA {
namespace {

// P, or where one id is all of the query its vector itself.
template <class Args>
const float *query(const Args &args, int64_t place, float *sum) {
    typedef typename Args::Vec Vec;
    const int32_t *rows = args.query_rows + place * args.n_query;
    if (args.n_query == 1) {
        const Row only = row(args, rows[0]);
        if (is_id(only)) return args.vectors + only.features[0] * args.width;
    }
    for (int64_t k = 0; k < args.width; k += Args::lanes) {
        Vec total = {};
        for (int64_t b = 0; b < args.n_query; ++b) {
            const Row of_block = row(args, rows[b]);
            for (int64_t at = 0; at < of_block.count; ++at)
                total += value(of_block, at) * load<Vec>(args.vectors + of_block.features[at] * args.width + k);
        }
        store(sum + k, total);
    }
    return sum;
}

template <class Args>
inline const float *vector_of(const Args &args, const Row &row, const float *sum) {
    return is_id(row) ? args.vectors + row.features[0] * args.width : sum;
}

// Adds to acc, vectors that add up to the scores, what n vectors of columns from k on give; their q go where they belong.
// Rows go side by side up to the end of the longest, as loops of their own lengths are what no machine predicts.
template <int n, int count, class Args>
inline void part(const Args &args, const float *p, const Row *rows, int64_t longest, int64_t k, float *const *sums,
                 typename Args::Vec *acc) {
    typedef typename Args::Vec Vec;
    Vec q[count][n ? n : 1] = {}, squares[count] = {};
    float linear[count] = {};
    for (int64_t at = 0; at < longest; ++at)
#pragma GCC unroll 4
        for (int i = 0; i < count; ++i) {
            const Entry entry = padded(rows[i], at);
            const float *v = args.vectors + entry.feature * args.width + k;
            if (!k) linear[i] += entry.x * args.weights[entry.feature];
#pragma GCC unroll 4
            for (int j = 0; j < n; ++j) {
                const Vec xv = entry.x * load<Vec>(v + j * Args::lanes);
                q[i][j] += xv, squares[i] += xv * xv;
            }
        }
#pragma GCC unroll 4
    for (int i = 0; i < count; ++i) {
        acc[i] += Vec{linear[i]} - 0.5f * squares[i];
#pragma GCC unroll 4
        for (int j = 0; j < n; ++j) {
            store(sums[i] + k + j * Args::lanes, q[i][j]);
            acc[i] += q[i][j] * (load<Vec>(p + k + j * Args::lanes) + 0.5f * q[i][j]);
        }
    }
}

// Four vectors, or two, to their sums.
template <class Vec, int count>
__attribute__((always_inline)) inline void reduce(const Vec (&a)[count], float *to) {
    const vec low = pair_sums(folded(a[0]), folded(a[1]));
    const vec quads = quad_sums(low, count == 4 ? pair_sums(folded(a[count - 2]), folded(a[count - 1])) : low);
    for (int i = 0; i < count; ++i) to[i] = quads[i] + quads[i + 4];
}

// Scores of a few items, and where to q_i.
template <int count, class Args>
inline void score(const Args &args, const float *p, const int32_t *items, float *const *sums, float *scores) {
    constexpr int most = 8 / count;
    Row rows[count];
    int64_t longest = 0, k = 0;
    typename Args::Vec acc[count] = {};
    for (int i = 0; i < count; ++i) {
        rows[i] = item_row(args, items[i]);
        longest = rows[i].count > longest ? rows[i].count : longest;
        if (!rows[i].count) rows[i] = nothing;
    }
    if (!args.width) part<0, count>(args, p, rows, longest, k, sums, acc);
    for (; k + most * Args::lanes <= args.width; k += most * Args::lanes)
        part<most, count>(args, p, rows, longest, k, sums, acc);
    for (; k < args.width; k += Args::lanes) part<1, count>(args, p, rows, longest, k, sums, acc);
    reduce(acc, scores);
}

// Scores of a group of candidates from rows of a table that are q_i themselves. Behind the last there is room, and the
// last stands in.
template <class Args>
inline void screen_group(const Args &args, const float *p, const Sample &sample, int32_t first, float *scores) {
    typedef typename Args::Vec Vec;
    const float *table = Args::ids ? args.vectors : args.item_vectors, *y[fm_rank_group];
    Vec acc[fm_rank_group] = {};
    for (int i = 0; i < fm_rank_group; ++i) {
        const int32_t item = sample.items[first + i < sample.count ? first + i : sample.count];
        const int64_t at = Args::ids ? item_row(args, item).features[0] : item;
        y[i] = table + at * args.width;
        acc[i][0] = (Args::ids ? args.weights : args.item_scores)[at];
    }
    for (int64_t k = 0; k < args.width; k += Args::lanes) {
        const Vec of_query = load<Vec>(p + k);
#pragma GCC unroll 4
        for (int i = 0; i < fm_rank_group; ++i) acc[i] += of_query * load<Vec>(y[i] + k);
    }
    reduce(acc, scores + first);
}

// The same from the vectors of features, with where to q_i.
template <class Args>
inline void score_group(const Args &args, const float *p, const Sample &sample, int32_t first, float *sums,
                        float *scores) {
    if (Args::ids) return screen_group(args, p, sample, first, scores);
    int32_t items[fm_rank_group];
    float *q[fm_rank_group];
    for (int i = 0; i < fm_rank_group; ++i) {
        const int32_t r = first + i < sample.count ? first + i : sample.count;
        items[i] = sample.items[r], q[i] = sums + r * args.width;
    }
    score<fm_rank_group>(args, p, items, q, scores + first);
}

// The rows of the table of some items anew.
template <class Args>
void renew(const Args &args, int64_t begin, int64_t end, float *zeros) {
    for (int64_t k = 0; k < args.width; ++k) zeros[k] = 0;
    for (int64_t first = begin; first < end; first += fm_rank_group) {
        int32_t items[fm_rank_group];
        float *q[fm_rank_group], scores[fm_rank_group];
        for (int i = 0; i < fm_rank_group; ++i) {
            items[i] = int32_t(first + i < end ? first + i : end - 1);
            q[i] = args.item_vectors + items[i] * args.width;
        }
        score<fm_rank_group>(args, zeros, items, q, scores);
        for (int i = 0; i < fm_rank_group; ++i) args.item_scores[items[i]] = scores[i];
    }
}

// Every item once in as many positives as there are items, a part with each block of positives.
template <class Args>
void renew_part(const Args &args, int64_t block, float *zeros) {
    const int64_t parts = (args.n_items + args.block_size - 1) / args.block_size;
    const int64_t begin = block % parts * args.block_size, end = begin + args.block_size;
    renew(args, begin, end < args.n_items ? end : args.n_items, zeros);
}

}  // namespace
}  // namespace RECSYS_ISA
}  // namespace recsys
