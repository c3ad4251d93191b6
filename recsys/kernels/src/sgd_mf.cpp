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
constexpr int chains = 4;     // of additions in a product, so that none waits for the one before

// The user, or the item, of one rating.
struct Row {
    const SgdSide &side;
    int64_t at;
    float *factors;

    Row(const SgdSide &side, int64_t rating, int64_t width)
        : side(side), at(side.rows[rating]), factors(side.factors + at * width) {}
    float &bias() const { return side.bias[at]; }
};

struct Products {
    float pq, pp, qq;
};

inline float total(const vec (&parts)[chains]) { return sum((parts[0] + parts[1]) + (parts[2] + parts[3])); }

// p.q, and |p|^2 and |q|^2 where the optimizer asks for them.
template <bool norms>
inline Products products(const float *p, const float *q, int64_t width) {
    vec pq[chains] = {}, pp[chains] = {}, qq[chains] = {};
    const auto add = [&](int64_t k, int chain) {
        const vec x = load(p + k), y = load(q + k);
        pq[chain] += x * y;
        if (norms) pp[chain] += x * x, qq[chain] += y * y;
    };
    int64_t k = 0;
    for (; k + chains * lanes <= width; k += chains * lanes)
#pragma GCC unroll 4
        for (int chain = 0; chain < chains; ++chain) add(k + chain * lanes, chain);
    for (; k < width; k += lanes) add(k, 0);
    if (!norms) return {total(pq), 0, 0};
    return {total(pq), total(pp), total(qq)};
}

// One row moves by rate times its gradient; its bias by a rate of its own.
struct Rates {
    float row, bias;
};

inline void move_both(const SgdMf &mf, const Row &user, const Row &item, Rates of_user, Rates of_item, float e) {
    user.bias() += of_user.bias * (e - mf.regularization * user.bias());
    item.bias() += of_item.bias * (e - mf.regularization * item.bias());
    const vec of_p = vec{} + of_user.row * e, p_left = vec{} + (1 - of_user.row * mf.regularization);
    const vec of_q = vec{} + of_item.row * e, q_left = vec{} + (1 - of_item.row * mf.regularization);
    for (int64_t k = 0; k < mf.width; k += lanes) {
        const vec p = load(user.factors + k), q = load(item.factors + k);
        store(user.factors + k, p_left * p + of_p * q);
        store(item.factors + k, q_left * q + of_q * p);
    }
}

struct Plain {
    static constexpr bool norms = false;
    static void arrive(const SgdMf &, const Row &, int64_t) {}

    static void step(const SgdMf &mf, const Row &user, const Row &item, float e, const Products &) {
        const Rates rates = {mf.learning_rate, mf.learning_rate * mf.bias_rate};
        move_both(mf, user, item, rates, rates, e);
    }
};

// A row's rates fall with the root of its summed squared gradients (Duchi, Hazan and Singer 2011), one sum for all its
// factors: a sum for each would double the memory that every step moves.
struct AdaGrad {
    static constexpr bool norms = true;
    static void arrive(const SgdMf &, const Row &, int64_t) {}

    static float rate(const SgdMf &mf, float &squares, float square) {
        squares += square;
        return squares > 0 ? mf.learning_rate / __builtin_sqrtf(squares) : 0;
    }

    static Rates rates(const SgdMf &mf, const Row &row, float e, float own, float other, float product) {
        float *squares = row.side.squares + 2 * row.at;
        const float regularization = mf.regularization, of_bias = e - regularization * row.bias();
        // |e y - regularization x|^2, from the norms
        const float square = e * e * other - 2 * e * regularization * product + regularization * regularization * own;
        return {rate(mf, squares[0], (square > 0 ? square : 0) / float(mf.width)),
                rate(mf, squares[1], of_bias * of_bias) * mf.bias_rate};
    }

    static void step(const SgdMf &mf, const Row &user, const Row &item, float e, const Products &of) {
        const Rates of_user = rates(mf, user, e, of.pp, of.qq, of.pq), of_item = rates(mf, item, e, of.qq, of.pp, of.pq);
        move_both(mf, user, item, of_user, of_item, e);
    }
};

// v <- momentum v + (1 - momentum) rate g, x <- x + v, in every step and for every row; the steps a row has no part
// in, where g is 0, are made up for when it is next needed.
struct Momentum {
    static constexpr bool norms = false;

    static float power(float base, int64_t exponent) {
        float result = 1;
        for (; exponent > 0 && base > 0; exponent >>= 1, base *= base)
            if (exponent & 1) result *= base;
        return exponent > 0 ? 0 : result;
    }

    static float *velocity(const SgdMf &mf, const Row &row) { return row.side.velocity + row.at * mf.width; }

    static void arrive(const SgdMf &mf, const Row &row, int64_t step) {
        const int64_t missed = step - 1 - row.side.touched[row.at];
        row.side.touched[row.at] = step;
        if (missed <= 0) return;
        const float left = power(mf.momentum, missed);
        const float moved = mf.momentum * (1 - left) / (1 - mf.momentum);  // momentum + ... + momentum^missed
        float *v = velocity(mf, row), *x = row.factors, &v_bias = row.side.bias_velocity[row.at];
        for (int64_t k = 0; k < mf.width; k += lanes) {
            const vec old = load(v + k);
            store(x + k, load(x + k) + moved * old);
            store(v + k, left * old);
        }
        row.bias() += moved * v_bias;
        v_bias *= left;
    }

    static void move_bias(const SgdMf &mf, const Row &row, float rate, float e) {
        float &v = row.side.bias_velocity[row.at];
        v = mf.momentum * v + rate * mf.bias_rate * (e - mf.regularization * row.bias());
        row.bias() += v;
    }

    static void step(const SgdMf &mf, const Row &user, const Row &item, float e, const Products &) {
        const float rate = (1 - mf.momentum) * mf.learning_rate;
        move_bias(mf, user, rate, e);
        move_bias(mf, item, rate, e);
        const vec kept = vec{} + mf.momentum, along = vec{} + rate * e, shrunk = vec{} + rate * mf.regularization;
        float *vp = velocity(mf, user), *vq = velocity(mf, item);
        for (int64_t k = 0; k < mf.width; k += lanes) {
            const vec p = load(user.factors + k), q = load(item.factors + k);
            const vec p_step = kept * load(vp + k) + along * q - shrunk * p;
            const vec q_step = kept * load(vq + k) + along * p - shrunk * q;
            store(vp + k, p_step);
            store(vq + k, q_step);
            store(user.factors + k, p + p_step);
            store(item.factors + k, q + q_step);
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
inline void over_ratings(const SgdMf &given, int64_t at) {
    const SgdMf mf = given;  // a copy: the compiler would read the original again after every store
    const int32_t block = mf.order[at];
    const int64_t begin = mf.starts[block], end = mf.starts[block + 1];
    double loss = 0;
    for (int64_t rating = begin; rating < end; ++rating) {
        if (rating + ahead < end) {
            fetch(mf.users, rating + ahead, mf.width);
            fetch(mf.items, rating + ahead, mf.width);
        }
        const Row user(mf.users, rating, mf.width), item(mf.items, rating, mf.width);
        const int64_t step = mf.steps ? mf.steps[at] + rating - begin + 1 : 0;
        Optimizer::arrive(mf, user, step);
        Optimizer::arrive(mf, item, step);
        const Products of = products<Optimizer::norms>(user.factors, item.factors, mf.width);
        const float e = mf.ratings[rating] - (user.bias() + item.bias() + of.pq);
        loss += double(e) * double(e);
        Optimizer::step(mf, user, item, e > mf.limit ? mf.limit : e < -mf.limit ? -mf.limit : e, of);
    }
    mf.loss[block] = loss;
}

}  // namespace

void sgd_mf_plain(const SgdMf &mf, int64_t at) { over_ratings<Plain>(mf, at); }
void sgd_mf_momentum(const SgdMf &mf, int64_t at) { over_ratings<Momentum>(mf, at); }
void sgd_mf_adagrad(const SgdMf &mf, int64_t at) { over_ratings<AdaGrad>(mf, at); }

}  // namespace RECSYS_ISA
}  // namespace recsys
