// Blocked matrix product with fused selection. Compiled once per instruction set (RECSYS_ISA).
#include "topk.hpp"

#include <cstring>

#include "topk_best.hpp"
#include "topk_scores.hpp"

namespace recsys {
namespace RECSYS_ISA {
namespace {

// All queries over a slice of items that stays in the first-level cache, then the next slice.
template <bool has_tail>
void score_block(const float *queries, int64_t n_queries, int64_t padded, const float *items, int64_t n_items, int64_t width,
                 float *out) {
    const int64_t fits = 4096 / (width + 1) & ~int64_t(7), slice = fits < 8 ? 8 : fits;
    for (int64_t i = 0; i < n_items; i += slice) {
        const int64_t count = n_items - i < slice ? n_items - i : slice;
        const float *from = items + i * width;
        int64_t q = 0;
        for (; q + 2 <= n_queries; q += 2)
            score_items<2, has_tail>(queries + q * padded, padded, from, count, width, out + q * item_block + i);
        if (q < n_queries)
            score_items<1, has_tail>(queries + q * padded, padded, from, count, width, out + q * item_block + i);
    }
}

constexpr int64_t skip = 32;

template <bool ties>
inline bool any_above(const float *scores, float worst) {
    int found = 0;
    for (int64_t i = 0; i < skip; ++i) found |= ties ? scores[i] >= worst : scores[i] > worst;
    return found;
}

// Items a query may get, by row.
struct Free {
    const uint8_t *allowed;
    const int32_t *excluded, *end;  // ascending

    Free(const Restriction &restriction, int64_t query) : allowed(restriction.allowed), excluded(nullptr), end(nullptr) {
        if (!restriction.exclude_indptr) return;
        excluded = restriction.exclude_rows + restriction.exclude_indptr[query];
        end = restriction.exclude_rows + restriction.exclude_indptr[query + 1];
    }
    bool has(int32_t row) const {
        if (allowed && !(allowed[row >> 3] >> (row & 7) & 1)) return false;
        const int32_t *low = excluded, *high = end;
        while (low < high) {
            const int32_t *middle = low + (high - low) / 2;
            if (*middle < row) low = middle + 1;
            else high = middle;
        }
        return low == end || *low != row;
    }
};

// Offers scores of items first .. first + count - 1. Where rows ascend, an equal score never displaces an earlier one,
// and the test against the worst kept score is strict.
template <bool ties>
void offer(Best &best, const float *scores, int64_t first, int64_t count, const int32_t *row_of, const Free &free) {
    for (int64_t i = 0; i < count; ++i) {
        if (best.size == best.k) {  // skip ahead to a score above the worst kept one
            const float worst = best.scores[0];
            while (i + skip <= count && !any_above<ties>(scores + i, worst)) i += skip;
            while (i < count && !(ties ? scores[i] >= worst : scores[i] > worst)) ++i;
            if (i == count) return;
        }
        const int32_t row = ties ? row_of[first + i] : int32_t(first + i);
        if (free.has(row)) best.offer(row, scores[i]);
    }
}

}  // namespace

namespace {

// A query of a block, whose vector is row q of the padded ones.
struct Asked {
    int64_t query;
    Best best;
    float length;  // at least its own
};

inline float length_of(const float *query, int64_t width) {
    double squares = 0;
    for (int64_t j = 0; j < width; ++j) squares += double(query[j]) * query[j];
    return float(__builtin_sqrt(squares) * (1 + 1e-6)) + 0x1p-149f;
}

// Whether no item from here on can have a score above the worst that is kept, rounded as scores are.
inline bool done(const Asked &asked, const float *reach, int64_t width) {
    if (asked.best.size < asked.best.k) return false;
    const float most = asked.length * reach[0] * (1 + float(width + 64) * 0x1p-23f) + reach[1] + 1e-36f;
    return most + 1e-6f * __builtin_fabsf(most) < asked.best.scores[0];
}

// Puts the queries that are done behind the others; returns how many others there are.
inline int64_t still_asking(Asked *asked, int64_t count, const float *reach, float *queries, int64_t padded, int64_t width) {
    for (int64_t q = 0; q < count;) {
        if (!done(asked[q], reach, width)) {
            ++q;
            continue;
        }
        const Asked last = asked[--count];
        asked[count] = asked[q], asked[q] = last;
        std::memcpy(queries + q * padded, queries + count * padded, size_t(padded) * sizeof(float));
    }
    return count;
}

}  // namespace

void search_block(const Search &search, int64_t begin, int64_t end, float *scratch) {
    const int64_t width = search.width, padded = (width + lanes - 1) / lanes * lanes, n_queries = end - begin;
    float *queries = scratch, *scores = scratch + query_block * padded;
    Asked asked[query_block];
    for (int64_t q = 0; q < n_queries; ++q) {
        const float *query = search.queries + (begin + q) * width;
        std::memset(queries + q * padded, 0, static_cast<size_t>(padded) * sizeof(float));
        std::memcpy(queries + q * padded, query, static_cast<size_t>(width) * sizeof(float));
        asked[q] = {begin + q, {search.rows + (begin + q) * search.k, search.scores + (begin + q) * search.k, search.k, 0},
                    search.reach ? length_of(query, width) : 0};
    }
    int64_t active = n_queries;
    for (int64_t first = 0; first < search.n_items; first += item_block) {
        if (search.reach)
            active = still_asking(asked, active, search.reach + first / item_block * 2, queries, padded, width);
        if (!active) break;
        const int64_t left = search.n_items - first, count = left < item_block ? left : item_block;
        const float *items = search.item_vectors + first * width;
        if (width % lanes) score_block<true>(queries, active, padded, items, count, width, scores);
        else score_block<false>(queries, active, padded, items, count, width, scores);
        for (int64_t q = 0; q < active; ++q) {
            float *block = scores + q * item_block;
            if (search.item_scale)
                for (int64_t i = 0; i < count; ++i) block[i] *= search.item_scale[first + i];
            if (search.item_bias)
                for (int64_t i = 0; i < count; ++i) block[i] += search.item_bias[first + i];
            const Free free(search.restriction, asked[q].query);
            if (search.row_of) offer<true>(asked[q].best, block, first, count, search.row_of, free);
            else offer<false>(asked[q].best, block, first, count, nullptr, free);
        }
    }
    for (int64_t q = 0; q < n_queries; ++q) asked[q].best.finish();
}

void select_block(const Select &select, int64_t begin, int64_t end) {
    for (int64_t query = begin; query < end; ++query) {
        Best best = {select.rows + query * select.k, select.out_scores + query * select.k, select.k, 0};
        offer<false>(best, select.scores + query * select.n_items, 0, select.n_items, nullptr, Free(select.restriction, query));
        best.finish();
    }
}

}  // namespace RECSYS_ISA
}  // namespace recsys
