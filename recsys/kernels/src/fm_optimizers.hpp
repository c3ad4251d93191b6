// The losses and optimizers of gradient steps of factorization machines; for the translation units that are compiled
// once per instruction set.
#pragma once

#include "fm_samples.hpp"

namespace {

// Adds the loss to the total; returns its derivative by y. A y that is not a number stays one.
inline float slope(const FmSgd &fm, float y, float target, float weight, Total &total) {
    constexpr float steep = 30;  // exp stays finite, and the derivative is 0 or 1 by then
    const float margin = target * y, e = y - target;
    switch (fm.loss) {
        case recsys::Pointwise::squared:
            total.sum += 0.5 * weight * double(e) * double(e);
            return weight * (e > fm.limit ? fm.limit : e < -fm.limit ? -fm.limit : e);
        case recsys::Pointwise::logistic: {
            if (margin < -steep) total.sum += double(weight) * (-steep - margin);
            const float odds = __builtin_expf(margin < -steep ? steep : margin > steep ? -steep : -margin);
            total.add_log(weight, 1 + double(odds));
            return -weight * target * odds / (1 + odds);
        }
        default:
            if (!(margin >= 1)) total.sum += double(weight) * (1 - margin);
            return margin < 1 ? -weight * target : 0;
    }
}

// Derivatives by y of the loss, and of the penalties by half the squares of w and v.
struct Slopes {
    float y, w, v;
};

// y has the derivative x (sums - own x v_j) by v_j; without field weights sums is S = sum_l x_l v_l, and own is 1.
struct Pairs {
    const float *sums;
    float own;
};

// v_j <- v_j - rate (slopes.y x (sums - own x v_j) + slopes.v v_j) = kept v_j + along sums
template <class S>
inline void move(const FmSgd &fm, int64_t j, float x, const Slopes &slopes, const Pairs &pairs, float rate) {
    using V = typename S::Vector;
    const V kept = 1 - rate * (slopes.v - slopes.y * pairs.own * x * x) - V{}, along = -rate * slopes.y * x - V{};
    float *v = fm.vectors + j * S::width(fm);
    for (int64_t k = 0; k < S::width(fm); k += S::step)
        write(v + k, kept * read<V>(v + k) + along * read<V>(pairs.sums + k));
}

struct Plain {
    template <class S>
    RECSYS_FETCH static void fetch(const FmSgd &, int64_t) {}

    template <class S>
    static void arrive(const FmSgd &, const Sample &, int64_t) {}

    static void scalar(const FmSgd &fm, float &parameter, float &, float gradient) {
        parameter -= fm.learning_rate * gradient;
    }

    template <class S, bool ones, class PairsOf>
    static void features(const FmSgd &fm, const Sample &sample, const Slopes &slopes, PairsOf pairs_of) {
        for (int64_t e = 0; e < sample.count; ++e) {
            const int64_t j = sample.features[e];
            const float x = sample.value<ones>(e);
            fm.weights[j] -= fm.learning_rate * (slopes.y * x + slopes.w * fm.weights[j]);
            move<S>(fm, j, x, slopes, pairs_of(j), fm.learning_rate);
        }
    }
};

// Rates fall with the root of the summed squared gradients (Duchi, Hazan and Singer 2011), penalties left out; one sum
// for all of a vector: a sum for each of its numbers would double the memory that every step moves.
struct AdaGrad {
    template <class S>
    RECSYS_FETCH static void fetch(const FmSgd &fm, int64_t j) {
        __builtin_prefetch(fm.squares + 2 * j, 1, 3);
    }

    template <class S>
    static void arrive(const FmSgd &, const Sample &, int64_t) {}

    static void scalar(const FmSgd &fm, float &parameter, float &squares, float gradient) {
        squares += gradient * gradient;
        parameter -= fm.learning_rate / __builtin_sqrtf(squares) * gradient;
    }

    template <class S>
    static float squared(const FmSgd &fm, int64_t j, float x, const Pairs &pairs) {
        using V = typename S::Vector;
        const V own = pairs.own * x - V{};
        V total = {};
        for (int64_t k = 0; k < S::width(fm); k += S::step) {
            const V other = read<V>(pairs.sums + k) - own * read<V>(fm.vectors + j * S::width(fm) + k);
            total += other * other;
        }
        return added(total);
    }

    template <class S, bool ones, class PairsOf>
    static void features(const FmSgd &fm, const Sample &sample, const Slopes &slopes, PairsOf pairs_of) {
        for (int64_t e = 0; e < sample.count; ++e) {
            const int64_t j = sample.features[e];
            const float x = sample.value<ones>(e), gradient = slopes.y * x, square = gradient * gradient;
            const Pairs pairs = pairs_of(j);
            float *sums = fm.squares + 2 * j;
            const quad both = quad{sums[0], sums[1], 0, 0} + quad{square, square * squared<S>(fm, j, x, pairs), 1, 1};
            sums[0] = both[0], sums[1] = both[1];
            const quad rates = fm.learning_rate / roots(both);  // together, because each takes long
            fm.weights[j] -= rates[0] * (gradient + slopes.w * fm.weights[j]);
            move<S>(fm, j, x, slopes, pairs, rates[1]);
        }
    }
};

// u <- momentum u - (1 - momentum) rate gradient, parameter <- parameter + u, in every step and for every feature; the
// steps a feature has no part in, where the gradient is 0, are made up for when it is next needed.
struct Momentum {
    template <class S>
    RECSYS_FETCH static void fetch(const FmSgd &fm, int64_t j) {
        __builtin_prefetch(fm.touched + j, 1, 3);
        __builtin_prefetch(fm.weight_velocity + j, 1, 3);
        fetch_row<S>(fm, fm.velocity, j);
    }

    template <class S>
    static void arrive(const FmSgd &fm, const Sample &sample, int64_t number) {
        using V = typename S::Vector;
        for (int64_t e = 0; e < sample.count; ++e) {
            const int64_t j = sample.features[e];
            const auto missed = int64_t(uint64_t(number - 1) - uint64_t(fm.touched[j]));  // touched is not checked
            fm.touched[j] = number;
            if (missed <= 0) continue;
            const float left = missed > fm.memory ? 0 : __builtin_powf(fm.momentum, float(missed));
            const float moved = fm.momentum * (1 - left) / (1 - fm.momentum);  // momentum + ... + momentum^missed
            float *u = fm.velocity + j * S::width(fm), *v = fm.vectors + j * S::width(fm);
            for (int64_t k = 0; k < S::width(fm); k += S::step) {
                const V old = read<V>(u + k);
                write(v + k, read<V>(v + k) + moved * old);
                write(u + k, left * old);
            }
            fm.weights[j] += moved * fm.weight_velocity[j];
            fm.weight_velocity[j] *= left;
        }
    }

    static void scalar(const FmSgd &fm, float &parameter, float &velocity, float gradient) {
        velocity = fm.momentum * velocity - (1 - fm.momentum) * fm.learning_rate * gradient;
        parameter += velocity;
    }

    template <class S, bool ones, class PairsOf>
    static void features(const FmSgd &fm, const Sample &sample, const Slopes &slopes, PairsOf pairs_of) {
        using V = typename S::Vector;
        const float rate = (1 - fm.momentum) * fm.learning_rate;
        for (int64_t e = 0; e < sample.count; ++e) {
            const int64_t j = sample.features[e];
            const float x = sample.value<ones>(e);
            const Pairs pairs = pairs_of(j);
            scalar(fm, fm.weights[j], fm.weight_velocity[j], slopes.y * x + slopes.w * fm.weights[j]);
            const float shrunk = rate * (slopes.v - slopes.y * pairs.own * x * x), along = rate * slopes.y * x;
            float *u = fm.velocity + j * S::width(fm), *v = fm.vectors + j * S::width(fm);
            for (int64_t k = 0; k < S::width(fm); k += S::step) {
                const V old = read<V>(v + k);
                const V step = fm.momentum * read<V>(u + k) - shrunk * old - along * read<V>(pairs.sums + k);
                write(u + k, step);
                write(v + k, old + step);
            }
        }
    }
};

}  // namespace
