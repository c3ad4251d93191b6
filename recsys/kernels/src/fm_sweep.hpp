// Block coordinate descent for factorization machines: statistics of samples per row of a block, and small systems.
#pragma once

#include <cstdint>

namespace recsys {

constexpr int64_t fm_group = 4;  // factors of a feature that are solved together
// Numbers of a row: the lower triangle of sum w z z' by rows, then sum w e z, z = (1, o); how q moves, the part of the
// move of y that is the same for all its samples, and padding; sums and statistics in floats, while samples are read.
constexpr int64_t fm_triangle = 15, fm_statistics = fm_triangle + 1 + fm_group;
constexpr int64_t fm_move = 8, fm_buffer = fm_group + fm_statistics;

// Samples in order. First they follow the rows of a block that has moved: with m the move of sample n's row,
//     y_n += m_4 + m_0..3 . q_n,  e_n -= the same,  q_n += m_0..3.
// Then they are counted in the rows of a block that moves next, with o_n = q_n - sums_r, what the other blocks add up to.
// Without q it is the linear part: a move is one number, and z = (1) leaves two statistics.
struct FmStream {
    float *q, *e;          // INOUT (n, fm_group) or null, (n)
    const float *weight;   // IN (n), or null: all 1
    const int32_t *moved;  // IN (n) row of the block that has moved, or null
    const float *moves;    // IN (n_moved, fm_move or 1)
    const int32_t *rows;   // IN (n) row of the block that moves next, or null
    const float *sums;     // IN (n_rows, fm_group)
    double *statistics;    // INOUT (n_rows, fm_statistics or 2): added to
    int64_t n, n_rows;
};

// Floats while a stretch of samples is counted, doubles across stretches, which are a matter of the block alone.
inline int64_t fm_stretch(int64_t n_rows) { return n_rows > 2048 ? 32 * n_rows : 65536; }

// Features of a block, as columns of its rows.
struct FmColumns {
    const int64_t *indptr;  // IN (n_features + 1)
    const int32_t *rows;    // IN the rows that have a feature
    const float *values;    // IN, or null: all 1
    const int32_t *field;   // IN (n_features)
    const float *precision, *mean;  // IN (n_fields, fm_group or 1) of the prior
    const float *noise;     // IN (n_features, fm_group or 1) standard normal, or null: the mode
    float *factors;         // INOUT (n_features, width)
    float *sums;            // INOUT (n_rows, fm_group), or null: the linear part
    double *statistics;     // INOUT (n_rows, fm_statistics or 2)
    float *moves;           // INOUT (n_rows, fm_move or 1): added to
    int64_t width, first;   // factors first..first + fm_group - 1 of each row
    double noise_precision;
};

#define RECSYS_DECLARE(isa)                                                                             \
    namespace isa {                                                                                     \
    void fm_stream_range(const FmStream &args, int64_t begin, int64_t end, float *buffer);              \
    void fm_stream_add(const FmStream &args, int64_t begin, int64_t end, const float *buffer);          \
    void fm_solve_range(const FmColumns &args, int64_t begin, int64_t end);                             \
    }
RECSYS_DECLARE(base)
RECSYS_DECLARE(v3)
RECSYS_DECLARE(v4)
#undef RECSYS_DECLARE

}  // namespace recsys
