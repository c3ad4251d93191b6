// Exact top-K over item vectors: arguments and entry points, one namespace per instruction set.
#pragma once

#include <cstdint>

namespace recsys {

// Which items a query may not get. Null pointers mean: no restriction.
struct Restriction {
    const int64_t *exclude_indptr;  // IN (n_queries + 1) into exclude_rows
    const int32_t *exclude_rows;    // IN ascending item rows per query
    const uint8_t *allowed;         // IN one bit an item, least significant first, shared by all queries
};

struct Search {
    const float *queries;       // IN (n_queries, width)
    const float *item_vectors;  // IN (n_items, width)
    const float *item_bias;     // IN (n_items) or null
    const float *item_scale;    // IN (n_items) or null
    const int32_t *row_of;      // IN (n_items) rows, in the order of the three above; or null: 0, 1, ...
    const float *reach;         // IN (ceil(n_items / 256), 2): greatest length and bias from a block on; or null
    int64_t n_queries, n_items, width, k;
    Restriction restriction;
    int32_t *rows;  // OUT (n_queries, k)
    float *scores;  // OUT (n_queries, k)
};

struct Select {
    const float *scores;  // IN (n_queries, n_items)
    int64_t n_queries, n_items, k;
    Restriction restriction;
    int32_t *rows;      // OUT (n_queries, k)
    float *out_scores;  // OUT (n_queries, k)
};

constexpr int64_t query_block = 16;
constexpr int64_t item_block = 256;

// Floats of scratch that search_block needs for one thread: the queries, padded to vectors, and a block of scores each.
inline int64_t scratch_floats(int64_t width) { return query_block * (((width + 7) & ~int64_t(7)) + item_block); }

#define RECSYS_DECLARE(isa)                                                               \
    namespace isa {                                                                       \
    void search_block(const Search &search, int64_t begin, int64_t end, float *scratch);  \
    void select_block(const Select &select, int64_t begin, int64_t end);                  \
    }
RECSYS_DECLARE(base)
RECSYS_DECLARE(v3)
RECSYS_DECLARE(v4)
#undef RECSYS_DECLARE

}  // namespace recsys
