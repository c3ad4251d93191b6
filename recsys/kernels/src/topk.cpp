// Blocked matrix product with fused selection. Compiled once per instruction set (RECSYS_ISA).
//
// The score of a (query, item) pair is summed in one fixed order, whatever the block it is computed in, so that a
// batch, a single request and any number of threads agree to the bit:
//   lane l collects  sum_j q[8j + l] y[8j + l],  then the lanes are added up by reduce().
#include "topk.hpp"

#include <cmath>
#include <cstring>

#include "simd.hpp"

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

template <int Q, bool has_tail>
void score_items(const float *queries, int64_t padded, const float *items, int64_t n_items, int64_t width, float *out) {
    constexpr int64_t I = 8 / Q;
    int64_t i = 0;
    for (; i + I <= n_items; i += I) score_tile<Q, has_tail>(queries, padded, items + i * width, width, out + i);
    for (; i < n_items; ++i) {  // the last few items one by one: the same sums in the same order
        for (int q = 0; q < Q; ++q) {
            vec acc[8] = {};
            int64_t j = 0;
            for (; j + lanes <= width; j += lanes) acc[0] += load(queries + q * padded + j) * load(items + i * width + j);
            if (has_tail) acc[0] += load(queries + q * padded + j) * load_tail(items + i * width + j, width - j);
            out[q * item_block + i] = reduce(acc)[0];
        }
    }
}

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

// The k best so far as a heap with the worst at the root: a lower score, or an equal one on a later row.
struct Best {
    int32_t *rows;
    float *scores;
    int64_t k, size;

    bool worse(int64_t a, int64_t b) const {
        return scores[a] < scores[b] || (scores[a] == scores[b] && rows[a] > rows[b]);
    }
    void swap(int64_t a, int64_t b) {
        int32_t row = rows[a];
        float score = scores[a];
        rows[a] = rows[b], scores[a] = scores[b];
        rows[b] = row, scores[b] = score;
    }
    void sink(int64_t at, int64_t count) {
        for (int64_t child; (child = 2 * at + 1) < count; at = child) {
            if (child + 1 < count && worse(child + 1, child)) ++child;
            if (!worse(child, at)) return;
            swap(child, at);
        }
    }
    void add(int32_t row, float score) {
        if (size < k) {
            int64_t at = size++;
            rows[at] = row, scores[at] = score;
            for (; at > 0 && worse(at, (at - 1) / 2); at = (at - 1) / 2) swap(at, (at - 1) / 2);
        } else {
            rows[0] = row, scores[0] = score;
            sink(0, k);
        }
    }
    // Best first, then the padding.
    void finish() {
        for (int64_t last = size - 1; last > 0; --last) {
            swap(0, last);
            sink(0, last);
        }
        for (int64_t at = size; at < k; ++at) rows[at] = -1, scores[at] = -HUGE_VALF;
    }
};

constexpr int64_t skip = 32;

inline bool any_above(const float *scores, float worst) {
    int found = 0;
    for (int64_t i = 0; i < skip; ++i) found |= scores[i] > worst;
    return found;
}

// Offers scores of item rows first .. first + count - 1. Rows come in ascending order, so an equal score never
// displaces an earlier one and the test against the worst kept score is strict.
void offer(Best &best, const float *scores, int64_t first, int64_t count, const uint8_t *allowed,
           const int32_t *&exclude, const int32_t *exclude_end) {
    for (int64_t i = 0; i < count; ++i) {
        if (best.size == best.k) {  // skip ahead to a score above the worst kept one
            const float worst = best.scores[0];
            while (i + skip <= count && !any_above(scores + i, worst)) i += skip;
            while (i < count && !(scores[i] > worst)) ++i;
            if (i == count) return;
        }
        float score = scores[i];
        int32_t row = static_cast<int32_t>(first + i);
        if (allowed && !(allowed[row >> 3] >> (row & 7) & 1)) continue;
        while (exclude != exclude_end && *exclude < row) ++exclude;
        if (exclude != exclude_end && *exclude == row) continue;
        if (score == score) best.add(row, score);
    }
}

struct Excluded {
    const int32_t *next, *end;
};

inline Excluded excluded(const Restriction &restriction, int64_t query) {
    if (!restriction.exclude_indptr) return {nullptr, nullptr};
    return {restriction.exclude_rows + restriction.exclude_indptr[query],
            restriction.exclude_rows + restriction.exclude_indptr[query + 1]};
}

}  // namespace

void search_block(const Search &search, int64_t begin, int64_t end, float *scratch) {
    const int64_t width = search.width, padded = (width + lanes - 1) / lanes * lanes, n_queries = end - begin;
    float *queries = scratch, *scores = scratch + query_block * padded;
    Best best[query_block];
    Excluded exclude[query_block];
    for (int64_t q = 0; q < n_queries; ++q) {
        std::memset(queries + q * padded, 0, static_cast<size_t>(padded) * sizeof(float));
        std::memcpy(queries + q * padded, search.queries + (begin + q) * width, static_cast<size_t>(width) * sizeof(float));
        best[q] = {search.rows + (begin + q) * search.k, search.scores + (begin + q) * search.k, search.k, 0};
        exclude[q] = excluded(search.restriction, begin + q);
    }
    for (int64_t first = 0; first < search.n_items; first += item_block) {
        const int64_t left = search.n_items - first, count = left < item_block ? left : item_block;
        const float *items = search.item_vectors + first * width;
        if (width % lanes) score_block<true>(queries, n_queries, padded, items, count, width, scores);
        else score_block<false>(queries, n_queries, padded, items, count, width, scores);
        for (int64_t q = 0; q < n_queries; ++q) {
            float *block = scores + q * item_block;
            if (search.item_scale)
                for (int64_t i = 0; i < count; ++i) block[i] *= search.item_scale[first + i];
            if (search.item_bias)
                for (int64_t i = 0; i < count; ++i) block[i] += search.item_bias[first + i];
            offer(best[q], block, first, count, search.restriction.allowed, exclude[q].next, exclude[q].end);
        }
    }
    for (int64_t q = 0; q < n_queries; ++q) best[q].finish();
}

void select_block(const Select &select, int64_t begin, int64_t end) {
    for (int64_t query = begin; query < end; ++query) {
        Best best = {select.rows + query * select.k, select.out_scores + query * select.k, select.k, 0};
        Excluded exclude = excluded(select.restriction, query);
        offer(best, select.scores + query * select.n_items, 0, select.n_items, select.restriction.allowed, exclude.next,
              exclude.end);
        best.finish();
    }
}

}  // namespace RECSYS_ISA
}  // namespace recsys
