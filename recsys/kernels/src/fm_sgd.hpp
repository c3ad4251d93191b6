// Stochastic gradient steps of factorization machines on pointwise losses.
#pragma once

#include <cstdint>

namespace recsys {

enum class Pointwise { squared, logistic, hinge };

// y = w0 + sum_j w_j x_j + sum_{j<l} r_{f(j)f(l)} <v_j, v_l> x_j x_l, where r is 1 without field weights. A step on a
// sample of weight s goes along minus the gradient of
//     s [ loss(y, target) + 1/2 sum over its features (regularization |v_j|^2 + weight_regularization w_j^2) ].
struct FmSgd {
    const int64_t *indptr;         // IN (n_rows + 1) rows of features, CSR
    const int32_t *features;       // IN
    const float *values;           // IN, or null: all 1
    const int32_t *rows;           // IN (n, parts) the rows that make up each sample
    const float *targets;          // IN (n)
    const float *sample_weight;    // IN (n), or null: all 1
    const int32_t *blocks;         // IN (n_blocks) runs of `block_size` samples, in the order in which to work on them
    int64_t n, parts, block_size;
    int64_t n_features, width;     // width is a multiple of 8
    int64_t longest;               // at least the number of features of any sample of these blocks
    Pointwise loss;
    float limit;                   // the slope of the squared loss counts as no steeper
    float learning_rate, regularization, weight_regularization, momentum;
    float *bias, *weights, *vectors;  // INOUT (1), (n_features), (n_features, width): w0, w, v
    // What the optimizer keeps of w0, and of w and v. AdaGrad: squared gradients, summed. Momentum: the last steps.
    float *bias_state;                  // INOUT (1); null for plain steps
    float *squares;                     // AdaGrad, INOUT (n_features, 2): of w, and of all of v
    float *velocity, *weight_velocity;  // momentum, INOUT (n_features, width) and (n_features)
    int64_t *touched;                   // momentum, INOUT (n_features): number of the feature's last step
    int64_t step;                       // momentum: number of the last step before these blocks, all counted as full
    int64_t memory;                     // momentum: steps after which nothing is left of a velocity
    // Field weights; null without.
    const int32_t *field_of;            // IN (n_features)
    float *field_weights;               // INOUT (n_fields, n_fields): r, symmetric
    float *field_state;                 // INOUT (n_fields, n_fields) as bias_state, where row <= column; null: r is fixed
    int64_t n_fields;
};

constexpr int64_t fm_ahead = 8;  // samples between the fetch of their parameters and their use

// Scratch of one thread, in floats and in int32.
inline int64_t fm_reals(const FmSgd &fm) { return fm_ahead * fm.longest + fm.width + fm.n_fields * (2 * fm.width + 1); }
inline int64_t fm_integers(const FmSgd &fm) { return fm_ahead * fm.longest + 2 * fm.n_fields; }

// Work on blocks[begin] to blocks[end] and add to the loss; false at the first feature out of range.
#define RECSYS_DECLARE(isa)                                                                                         \
    namespace isa {                                                                                                 \
    bool fm_sgd_range(const FmSgd &fm, int64_t begin, int64_t end, float *reals, int32_t *integers, double &loss);    \
    bool fm_fields_range(const FmSgd &fm, int64_t begin, int64_t end, float *reals, int32_t *integers, double &loss); \
    }
RECSYS_DECLARE(base)
RECSYS_DECLARE(v3)
RECSYS_DECLARE(v4)
#undef RECSYS_DECLARE

}  // namespace recsys
