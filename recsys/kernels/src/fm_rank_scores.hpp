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
    for (int64_t k = 0; k < args.width; k += Args::lanes) store(sum + k, Vec{});
    for (int64_t b = 0; b < args.n_query; ++b) {
        const Row of_block = row(args, rows[b]);
        for (int64_t at = 0; at < of_block.count; ++at) {
            const float *v = args.vectors + of_block.features[at] * args.width;
            const float x = value(of_block, at);
            for (int64_t k = 0; k < args.width; k += Args::lanes)
                store(sum + k, load<Vec>(sum + k) + x * load<Vec>(v + k));
        }
    }
    return sum;
}

template <class Args>
inline const float *vector_of(const Args &args, const Row &row, const float *sum) {
    return is_id(row) ? args.vectors + row.features[0] * args.width : sum;
}

// Adds to acc, vectors that add up to the scores, what n vectors of columns from k on give; their q go to the sums.
// Rows go side by side up to the end of the longest, as loops of their own lengths are what no machine predicts.
template <int n, class Args>
inline void part(const Args &args, const float *p, const Row *rows, int64_t longest, int64_t k, float *const *sums,
                 typename Args::Vec *acc) {
    typedef typename Args::Vec Vec;
    Vec q[fm_rank_group][n ? n : 1] = {}, squares[fm_rank_group] = {};
    float linear[fm_rank_group] = {};
    for (int64_t at = 0; at < longest; ++at)
#pragma GCC unroll 4
        for (int i = 0; i < fm_rank_group; ++i) {
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
    for (int i = 0; i < fm_rank_group; ++i) {
        acc[i] += Vec{linear[i]} - 0.5f * squares[i];
#pragma GCC unroll 4
        for (int j = 0; j < n; ++j) {
            store(sums[i] + k + j * Args::lanes, q[i][j]);
            acc[i] += q[i][j] * (load<Vec>(p + k + j * Args::lanes) + 0.5f * q[i][j]);
        }
    }
}

template <class Vec>
inline void reduce(const Vec (&a)[4], float *to) {
    const vec quads = quad_sums(pair_sums(folded(a[0]), folded(a[1])), pair_sums(folded(a[2]), folded(a[3])));
    for (int i = 0; i < 4; ++i) to[i] = quads[i] + quads[i + 4];
}

// Scores of a group of candidates. Behind the last there is room, and the last stands in.
template <class Args>
inline void score(const Args &args, const float *p, const Sample &sample, int32_t first, float *sums, float *scores) {
    typedef typename Args::Vec Vec;
    Row rows[fm_rank_group];
    int64_t longest = 0;
    float *q[fm_rank_group];
    Vec acc[fm_rank_group] = {};
    for (int i = 0; i < fm_rank_group; ++i) {
        const int32_t r = first + i < sample.count ? first + i : sample.count;
        rows[i] = item_row(args, sample.items[r]), q[i] = sums + r * args.width;
        longest = rows[i].count > longest ? rows[i].count : longest;
        if (!rows[i].count) rows[i] = nothing;
    }
    if (Args::ids) {
        for (int i = 0; i < fm_rank_group; ++i) acc[i][0] = args.weights[rows[i].features[0]];
        for (int64_t k = 0; k < args.width; k += Args::lanes) {
            const Vec of_query = load<Vec>(p + k);
#pragma GCC unroll 4
            for (int i = 0; i < fm_rank_group; ++i)
                acc[i] += of_query * load<Vec>(args.vectors + rows[i].features[0] * args.width + k);
        }
    } else {
        int64_t k = 0;
        if (!args.width) part<0>(args, p, rows, longest, k, q, acc);
        for (; k + 2 * Args::lanes <= args.width; k += 2 * Args::lanes) part<2>(args, p, rows, longest, k, q, acc);
        if (k < args.width) part<1>(args, p, rows, longest, k, q, acc);
    }
    reduce(acc, scores + first);
}

}  // namespace
}  // namespace RECSYS_ISA
}  // namespace recsys
