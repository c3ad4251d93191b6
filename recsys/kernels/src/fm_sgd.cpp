// Stochastic gradient steps of factorization machines. Compiled once per instruction set (RECSYS_ISA).
//
// A step is two passes over the vectors of a sample (Rendle 2010, section III): with S = sum_j x_j v_j the first adds up
//     sum_{j<l} <v_j, v_l> x_j x_l = 1/2 (|S|^2 - sum_j x_j^2 |v_j|^2),
// the second moves each v_j, by which that has the derivative x_j (S - x_j v_j).
#include "fm_sgd.hpp"

#include "fm_optimizers.hpp"

namespace recsys {
namespace RECSYS_ISA {
namespace {

// Of `count` vectors' worth of columns from k on: S is stored, what they add to the sum over pairs is returned.
template <class V, int64_t count, bool ones>
inline float panel(const FmSgd &fm, const Sample &sample, int64_t width, int64_t k, float *sums) {
    constexpr int64_t step = sizeof(V) / sizeof(float);
    V s[count] = {}, own[count] = {}, pairs = {};
    for (int64_t e = 0; e < sample.count; ++e) {
        const float *v = fm.vectors + sample.features[e] * width + k;
#pragma GCC unroll 4
        for (int64_t c = 0; c < count; ++c) {
            const V xv = ones ? read<V>(v + c * step) : sample.value<ones>(e) * read<V>(v + c * step);
            s[c] += xv;
            own[c] += xv * xv;
        }
    }
#pragma GCC unroll 4
    for (int64_t c = 0; c < count; ++c) {
        write(sums + k + c * step, s[c]);
        pairs += s[c] * s[c] - own[c];
    }
    return 0.5f * added(pairs);
}

template <class S, bool ones>
inline float over_pairs(const FmSgd &fm, const Sample &sample, float *sums) {
    using V = typename S::Vector;
    if constexpr (S::vectors != 0) return panel<V, S::vectors, ones>(fm, sample, S::width(fm), 0, sums);
    float pairs = 0;
    int64_t k = 0;
    for (; k + 4 * S::step <= fm.width; k += 4 * S::step) pairs += panel<V, 4, ones>(fm, sample, fm.width, k, sums);
    for (; k < fm.width; k += S::step) pairs += panel<V, 1, ones>(fm, sample, fm.width, k, sums);
    return pairs;
}

struct Machine {
    template <class Optimizer, class S, bool ones>
    static void step(const FmSgd &fm, const Sample &sample, int64_t place, Bias &bias, float *sums, int32_t *, Total &total) {
        float linear = 0;
        for (int64_t e = 0; e < sample.count; ++e) linear += sample.value<ones>(e) * fm.weights[sample.features[e]];
        const float y = bias.value + (linear + over_pairs<S, ones>(fm, sample, sums));
        const float weight = fm.sample_weight ? fm.sample_weight[place] : 1;
        const float by_y = slope(fm, y, fm.targets[place], weight, total);
        Optimizer::scalar(fm, bias.value, bias.state, by_y);
        const Slopes slopes = {by_y, weight * fm.weight_regularization, weight * fm.regularization};
        Optimizer::template features<S, ones>(fm, sample, slopes, [=](int64_t) { return Pairs{sums, 1}; });
    }
};

// Widths of their own, and values that are all 1, for the optimizers that are in use every day.
template <class Optimizer, bool ones>
auto by_width(int64_t width) {
    return width == 8    ? over_samples<Machine, Optimizer, Shape<vec, 1>, ones>
           : width == 16 ? over_samples<Machine, Optimizer, Shape<wide, 16 / widest>, ones>
           : width == 32 ? over_samples<Machine, Optimizer, Shape<wide, 32 / widest>, ones>
                         : over_samples<Machine, Optimizer, Shape<vec, 0>, ones>;
}

template <class Optimizer>
auto chosen(const FmSgd &fm) {
    return fm.values ? by_width<Optimizer, false>(fm.width) : by_width<Optimizer, true>(fm.width);
}

}  // namespace

bool fm_sgd_range(const FmSgd &fm, int64_t begin, int64_t end, float *reals, int32_t *integers, double &loss) {
    const auto work = fm.squares    ? chosen<AdaGrad>(fm)
                      : fm.velocity ? over_samples<Machine, Momentum, Shape<vec, 0>, false>
                                    : chosen<Plain>(fm);
    return work(fm, begin, end, reals, integers, loss);
}

}  // namespace RECSYS_ISA
}  // namespace recsys
