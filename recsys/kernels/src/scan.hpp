// Exact top-K of one query over quantised items: arguments and entry point, one namespace per instruction set.
#pragma once

#include <cstdint>

#include "topk.hpp"

namespace recsys {

constexpr int64_t scan_lanes = 16;       // items side by side
constexpr int64_t scan_group = 256;      // items that share bounds
constexpr int64_t scan_bounds = 3;       // the greatest of a group, see Scan::bounds

// An item vector y is about rotation * (scale * code). The first `head` coordinates of the codes and the `tail` ones
// behind them are apart.
struct Scan {
    const float *query;         // IN (width)
    const float *item_vectors;  // IN (n_items, width)
    const float *rotation;      // IN (width, width)
    const int32_t *row_of;      // IN (n_items) rows of item_vectors, in the order of all that follows
    const float *biases;        // IN (n_items) in that order, or null
    const float *factor;        // IN (n_items), not negative, or null
    const int8_t *heads;        // IN (ceil(n_items / 16), head / 2, 16, 2)
    const int8_t *tails;        // IN (ceil(n_items / 16), tail / 2, 16, 2)
    const float *scales;        // IN (n_items)
    const float *tail_lengths;  // IN (n_items) of scale * code behind the head
    const float *bounds;        // IN (ceil(n_items / 256), 3) of |y| and |scale * code|, of |y - rotation * ...|, of the bias
    int64_t n_items, width, head, tail, k;
    const uint8_t *allowed;  // IN one bit a row, least significant first; or null
    int32_t *rows;           // OUT (k)
    float *scores;           // OUT (k)
    int32_t *least_places;   // SCRATCH (k)
    float *least_scores;     // SCRATCH (k)
};

// Scratch: the rotated query, float64, and the query padded to vectors, float32; its codes.
inline int64_t scan_doubles(int64_t width) { return width + ((width + 7) & ~int64_t(7)); }

#define RECSYS_DECLARE(isa) \
    namespace isa {         \
    void scan_all(const Scan &scan, double *reals, int16_t *codes); \
    }
RECSYS_DECLARE(base)
RECSYS_DECLARE(v3)
RECSYS_DECLARE(v4)
#undef RECSYS_DECLARE

}  // namespace recsys
