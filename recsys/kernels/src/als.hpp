// Rows of implicit ALS: one regularised least-squares problem per user (or item).
#pragma once

#include <cstdint>

namespace recsys {

// Row u minimises, over x, with s_j = x . y_j over its columns j and D = dense + penalty_u on the diagonal,
//     f(x) = sum_j [ c_j (1 - s_j)^2 + shift (1 - 2 s_j) ] + x' D x .
struct AlsRows {
    const int64_t *indptr;   // IN (n_rows + 1)
    const int32_t *indices;  // IN columns
    const float *weights;    // IN c of each entry, or null: all equal to `weight`
    const float *factors;    // IN (n_columns, width), in the eigenbasis of their Gram matrix
    const float *dense;      // IN (width), eigenvalues times the weight of unobserved entries
    const float *penalty;    // IN (n_rows)
    const int32_t *order;    // IN (n_order) the rows to solve, in the order in which to work on them
    int64_t n_order, width;  // width is a multiple of 8
    float weight, shift, relaxation;
    int64_t steps;
    float *x;      // INOUT (n_rows, width): start, then solution
    double *loss;  // OUT (n_rows): f at the solution
};

constexpr int64_t row_block = 16;

// A row is solved when the squared residual has fallen to this share, or to this: further steps would work on rounding
// errors, and their lengths, quotients of ever smaller numbers, can be anything.
constexpr float als_relative = 1e-14f, als_absolute = 1e-30f;

// Scratch of one thread, in floats and in doubles.
inline int64_t als_scratch(int64_t width) { return 6 * width; }
inline int64_t als_exact_scratch(int64_t width) { return width + width * (width + 1) / 2; }

#define RECSYS_DECLARE(isa)                                                                 \
    namespace isa {                                                                         \
    void als_block(const AlsRows &rows, int64_t begin, int64_t end, float *scratch);        \
    void als_exact_block(const AlsRows &rows, int64_t begin, int64_t end, double *scratch); \
    }
RECSYS_DECLARE(base)
RECSYS_DECLARE(v3)
RECSYS_DECLARE(v4)
#undef RECSYS_DECLARE

}  // namespace recsys
