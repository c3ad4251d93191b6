// Stochastic gradient steps of biased matrix factorization. Compiled once per instruction set (RECSYS_ISA).
//
// A step is two passes over the two rows: one for their product, one that moves both. Between them stands a reduction
// whose latency other ratings' passes hide, as long as their rows have been fetched.
#include "sgd_mf.hpp"

#include "simd.hpp"

namespace recsys {
namespace RECSYS_ISA {
namespace {

constexpr int64_t ahead = 8;  // ratings between the fetch of two rows and their use

// The user, or the item, of one rating.
struct Row {
    const SgdSide &side;
    int64_t at;
    float *factors;

    Row(const SgdSide &side, int64_t rating, int64_t width)
        : side(side), at(side.rows[rating]), factors(side.factors + at * width) {}
    float &bias() const { return side.bias[at]; }
    float penalty() const { return side.penalty[at]; }
};

struct Products {
    float pq, pp, qq;
};

// p.q, and |p|^2 and |q|^2 where the optimizer asks for them.
template <bool norms>
inline Products products(const float *p, const float *q, int64_t width) {
    vec pq[2] = {}, pp[2] = {}, qq[2] = {};
    const auto add = [&](int64_t k, int chain) {
        const vec x = load(p + k), y = load(q + k);
        pq[chain] += x * y;
        if (norms) pp[chain] += x * x, qq[chain] += y * y;
    };
    int64_t k = 0;
    for (; k + 2 * lanes <= width; k += 2 * lanes) {
        add(k, 0);
        add(k + lanes, 1);
    }
    if (k < width) add(k, 0);
    if (!norms) return {sum(pq[0] + pq[1]), 0, 0};
    return {sum(pq[0] + pq[1]), sum(pp[0] + pp[1]), sum(qq[0] + qq[1])};
}

// p += of_q q - of_p p and q += of_p' p - of_q' q, both from the old values.
struct Step {
    float of_other, of_own;
};

inline void move_both(float *p, float *q, Step of_p, Step of_q, int64_t width) {
    const vec pq = vec{} + of_p.of_other, pp = vec{} + (1.0f - of_p.of_own);
    const vec qp = vec{} + of_q.of_other, qq = vec{} + (1.0f - of_q.of_own);
    for (int64_t k = 0; k < width; k += lanes) {
        const vec x = load(p + k), y = load(q + k);
        store(p + k, pp * x + pq * y);
        store(q + k, qq * y + qp * x);
    }
}

struct Plain {
    static constexpr bool norms = false;
    static void arrive(const SgdMf &, const Row &, int64_t) {}

    static void move_bias(const SgdMf &mf, const Row &row, float e) {
        row.bias() += mf.learning_rate * (e - mf.bias_penalty * row.penalty() * row.bias());
    }

    static void step(const SgdMf &mf, const Row &p, const Row &q, float e, const Products &) {
        const float rate = mf.learning_rate;
        move_bias(mf, p, e), move_bias(mf, q, e);
        move_both(p.factors, q.factors, {rate * e, rate * p.penalty()}, {rate * e, rate * q.penalty()}, mf.width);
    }
};

// Each row's rate falls with the root of its summed squared gradients; the norms give those before the second pass.
struct AdaGrad {
    static constexpr bool norms = true;
    static void arrive(const SgdMf &, const Row &, int64_t) {}

    static float rate(const SgdMf &mf, float &squares, float square) {
        squares += square;
        return mf.learning_rate / __builtin_sqrtf(squares + 1e-30f);
    }

    static Step move(const SgdMf &mf, const Row &row, float e, float own, float other, float product) {
        float *squares = row.side.squares + 2 * row.at;
        const float penalty = row.penalty();
        // |e y - penalty x|^2
        const float square = e * e * other - 2 * e * penalty * product + penalty * penalty * own;
        const float gradient = e - mf.bias_penalty * penalty * row.bias();
        row.bias() += rate(mf, squares[1], gradient * gradient) * gradient;
        const float of_row = rate(mf, squares[0], (square > 0 ? square : 0) / float(mf.width));
        return {of_row * e, of_row * penalty};
    }

    static void step(const SgdMf &mf, const Row &p, const Row &q, float e, const Products &of) {
        const Step of_p = move(mf, p, e, of.pp, of.qq, of.pq), of_q = move(mf, q, e, of.qq, of.pp, of.pq);
        move_both(p.factors, q.factors, of_p, of_q, mf.width);
    }
};

// v <- momentum v + rate g, x <- x + v, in every step and for every row; the steps a row was no part of, in which g is
// 0, are made up for when it is next needed.
struct Momentum {
    static constexpr bool norms = false;

    static float power(float base, int64_t exponent) {
        float result = 1;
        for (; exponent > 0 && result > 0; exponent >>= 1, base *= base)
            if (exponent & 1) result *= base;
        return result;
    }

    static float *velocity(const SgdMf &mf, const Row &row) { return row.side.velocity + row.at * mf.width; }

    static void arrive(const SgdMf &mf, const Row &row, int64_t step) {
        const int64_t missed = step - 1 - row.side.touched[row.at];
        row.side.touched[row.at] = step;
        if (missed <= 0) return;
        const float left = power(mf.momentum, missed);
        const float moved = mf.momentum * (1 - left) / (1 - mf.momentum);  // momentum + ... + momentum^missed
        float *v = velocity(mf, row), *x = row.factors;
        for (int64_t k = 0; k < mf.width; k += lanes) {
            const vec old = load(v + k);
            store(x + k, load(x + k) + moved * old);
            store(v + k, left * old);
        }
        row.bias() += moved * row.side.bias_velocity[row.at];
        row.side.bias_velocity[row.at] *= left;
    }

    static void move_bias(const SgdMf &mf, const Row &row, float e) {
        float &v = row.side.bias_velocity[row.at];
        v = mf.momentum * v + mf.learning_rate * (e - mf.bias_penalty * row.penalty() * row.bias());
        row.bias() += v;
    }

    static void step(const SgdMf &mf, const Row &p, const Row &q, float e, const Products &) {
        const float rate = mf.learning_rate;
        move_bias(mf, p, e), move_bias(mf, q, e);
        float *x = p.factors, *y = q.factors, *vx = velocity(mf, p), *vy = velocity(mf, q);
        for (int64_t k = 0; k < mf.width; k += lanes) {
            const vec a = load(x + k), b = load(y + k);
            const vec va = mf.momentum * load(vx + k) + rate * (e * b - p.penalty() * a);
            const vec vb = mf.momentum * load(vy + k) + rate * (e * a - q.penalty() * b);
            store(vx + k, va), store(x + k, a + va);
            store(vy + k, vb), store(y + k, b + vb);
        }
    }
};

inline void fetch(const SgdSide &side, int64_t rating, int64_t width) {
    const int64_t first = side.rows[rating] * width;
    for (int64_t k = 0; k < width; k += 16) {
        __builtin_prefetch(side.factors + first + k, 1, 3);
        if (side.velocity) __builtin_prefetch(side.velocity + first + k, 1, 3);
    }
}

template <class Optimizer>
inline void over_ratings(const SgdMf &mf, int64_t at) {
    const int32_t block = mf.order[at];
    const int64_t begin = mf.starts[block], end = mf.starts[block + 1];
    double loss = 0;
    for (int64_t rating = begin; rating < end; ++rating) {
        if (rating + ahead < end) {
            fetch(mf.users, rating + ahead, mf.width);
            fetch(mf.items, rating + ahead, mf.width);
        }
        const Row p(mf.users, rating, mf.width), q(mf.items, rating, mf.width);
        const int64_t step = mf.steps ? mf.steps[at] + rating - begin + 1 : 0;
        Optimizer::arrive(mf, p, step);
        Optimizer::arrive(mf, q, step);
        const Products of = products<Optimizer::norms>(p.factors, q.factors, mf.width);
        const float e = mf.ratings[rating] - (mf.mean + p.bias() + q.bias() + of.pq);
        loss += double(e) * double(e);
        const float held = e > mf.limit ? mf.limit : e < -mf.limit ? -mf.limit : e;
        Optimizer::step(mf, p, q, held, of);
    }
    mf.loss[block] = loss;
}

}  // namespace

void sgd_mf_plain(const SgdMf &mf, int64_t at) { over_ratings<Plain>(mf, at); }
void sgd_mf_momentum(const SgdMf &mf, int64_t at) { over_ratings<Momentum>(mf, at); }
void sgd_mf_adagrad(const SgdMf &mf, int64_t at) { over_ratings<AdaGrad>(mf, at); }

}  // namespace RECSYS_ISA
}  // namespace recsys
