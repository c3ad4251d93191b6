// Stochastic gradient steps of field-weighted factorization machines (Pan et al. 2018). Compiled once per instruction
// set (RECSYS_ISA).
//
// With S_f = sum of x_j v_j over the features of field f and T_f = sum_g r_fg S_g, the pairs of a sample add up to
//     1/2 sum_f (<S_f, T_f> - r_ff sum_{j in f} x_j^2 |v_j|^2),
// with derivatives x_j (T_f - r_ff x_j v_j) by v_j, <S_f, S_g> by r_fg, 1/2 (|S_f|^2 - sum x_j^2 |v_j|^2) by r_ff.
#include "fm_optimizers.hpp"

namespace recsys {
namespace RECSYS_ISA {
namespace {

float dot(const float *x, const float *y, int64_t width) {
    vec total = {};
    for (int64_t k = 0; k < width; k += lanes) total += load(x + k) * load(y + k);
    return added(total);
}

// The fields a sample has features of, in slots: its sums by field.
struct Fields {
    const FmSgd &fm;
    float *s, *t, *own;        // (n_fields, width) twice and (n_fields): S, T and sum of x_j^2 |v_j|^2 by slot
    int32_t *slot_of, *field;  // (n_fields): 1 + slot of a field, 0 for none; field of a slot
    int64_t count = 0;

    Fields(const FmSgd &fm, float *reals, int32_t *integers)
        : fm(fm), s(reals), t(s + fm.n_fields * fm.width), own(t + fm.n_fields * fm.width), slot_of(integers),
          field(integers + fm.n_fields) {}

    float &r(int64_t a, int64_t b) const { return fm.field_weights[field[a] * fm.n_fields + field[b]]; }

    int64_t slot(int32_t f) {
        if (!slot_of[f]) {
            std::memset(s + count * fm.width, 0, size_t(fm.width) * sizeof(float));
            own[count] = 0;
            field[count] = f;
            slot_of[f] = int32_t(++count);
        }
        return slot_of[f] - 1;
    }

    void add(int64_t j, float x) {
        const int64_t at = slot(fm.field_of[j]);
        const float *v = fm.vectors + j * fm.width;
        float *sum = s + at * fm.width;
        for (int64_t k = 0; k < fm.width; k += lanes) store(sum + k, load(sum + k) + x * load(v + k));
        own[at] += x * x * dot(v, v, fm.width);
    }

    float over_pairs() {
        float pairs = 0;
        for (int64_t a = 0; a < count; ++a) {
            for (int64_t k = 0; k < fm.width; k += lanes) {
                vec total = {};
                for (int64_t b = 0; b < count; ++b) total += r(a, b) * load(s + b * fm.width + k);
                store(t + a * fm.width + k, total);
            }
            pairs += dot(s + a * fm.width, t + a * fm.width, fm.width) - r(a, a) * own[a];
        }
        return 0.5f * pairs;
    }

    Pairs pairs_of(int64_t j) const {
        const int64_t at = slot_of[fm.field_of[j]] - 1;
        return {t + at * fm.width, r(at, at)};
    }

    template <class Optimizer>
    void train(float by_y) {
        for (int64_t a = 0; a < count; ++a)
            for (int64_t b = a; b < count; ++b) {
                const float product = dot(s + a * fm.width, s + b * fm.width, fm.width);
                const int64_t low = field[a] < field[b] ? a : b, high = a + b - low;
                float &state = fm.field_state[field[low] * fm.n_fields + field[high]];
                Optimizer::scalar(fm, r(low, high), state, by_y * (a == b ? 0.5f * (product - own[a]) : product));
                r(high, low) = r(low, high);
            }
    }

    void clear() {
        for (int64_t a = 0; a < count; ++a) slot_of[field[a]] = 0;
    }
};

struct Machine {
    template <class Optimizer, class S, bool ones>
    static void step(const FmSgd &fm, const Sample &sample, int64_t place, Bias &bias, float *reals, int32_t *integers,
                     Total &total) {
        Fields fields(fm, reals, integers);
        float linear = 0;
        for (int64_t e = 0; e < sample.count; ++e) {
            const float x = sample.value<ones>(e);
            linear += x * fm.weights[sample.features[e]];
            fields.add(sample.features[e], x);
        }
        const float y = bias.value + (linear + fields.over_pairs());
        const float weight = fm.sample_weight ? fm.sample_weight[place] : 1;
        const float by_y = slope(fm, y, fm.targets[place], weight, total);
        Optimizer::scalar(fm, bias.value, bias.state, by_y);
        const Slopes slopes = {by_y, weight * fm.weight_regularization, weight * fm.regularization};
        Optimizer::template features<S, ones>(fm, sample, slopes, [&](int64_t j) { return fields.pairs_of(j); });
        if (fm.field_state) fields.train<Optimizer>(by_y);
        fields.clear();
    }
};

}  // namespace

bool fm_fields_range(const FmSgd &fm, int64_t begin, int64_t end, float *reals, int32_t *integers, double &loss) {
    const auto work = fm.squares    ? over_samples<Machine, AdaGrad, Shape<vec, 0>, false>
                      : fm.velocity ? over_samples<Machine, Momentum, Shape<vec, 0>, false>
                                    : over_samples<Machine, Plain, Shape<vec, 0>, false>;
    return work(fm, begin, end, reals, integers, loss);
}

}  // namespace RECSYS_ISA
}  // namespace recsys
