// Stochastic gradient steps of biased matrix factorization on blocks of ratings.
#pragma once

#include <cstdint>

namespace recsys {

// What is learned of the users, or of the items. Only the arrays of the optimizer in use are there.
struct SgdSide {
    const int32_t *rows;   // IN (n) row of each rating
    float *factors;        // INOUT (n_rows, width)
    float *bias;           // INOUT (n_rows)
    float *squares;        // AdaGrad, INOUT (n_rows, 2): summed squared gradients, mean over the factors, and of the bias
    float *velocity;       // momentum, INOUT (n_rows, width): what the last step added
    float *bias_velocity;  // momentum, INOUT (n_rows)
    int64_t *touched;      // momentum, INOUT (n_rows): number of the row's last step
};

// A step on rating r of user u and item i, with e = r - (b_u + b_i + p_u.q_i) held within +-limit, goes along
//     -gradient of 1/2 [ e^2 + regularization (|p_u|^2 + b_u^2 + |q_i|^2 + b_i^2) ],
// learning_rate times that for the factors, bias_rate times as much for the biases.
struct SgdMf {
    SgdSide users, items;
    const float *ratings;   // IN (n), sorted by block
    const int64_t *starts;  // IN (n_blocks + 1): first rating of each block
    const int32_t *order;   // IN (n_order) blocks
    const int64_t *steps;   // momentum, IN (n_order): number of the last step before the block
    int64_t width;          // a multiple of 8
    float learning_rate, bias_rate, regularization, limit, momentum;
    double *loss;  // OUT (n_blocks): sum of e^2, each e before its step
};

#define RECSYS_DECLARE(isa)                                   \
    namespace isa {                                           \
    void sgd_mf_plain(const SgdMf &mf, int64_t at); \
    void sgd_mf_momentum(const SgdMf &mf, int64_t at); \
    void sgd_mf_adagrad(const SgdMf &mf, int64_t at); \
    }
RECSYS_DECLARE(base)
RECSYS_DECLARE(v3)
RECSYS_DECLARE(v4)
#undef RECSYS_DECLARE

}  // namespace recsys
