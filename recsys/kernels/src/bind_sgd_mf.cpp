// Bindings of the stochastic gradient steps of biased matrix factorization. No numerics here.
#include "bindings.hpp"

namespace recsys {
namespace {

// What every optimizer takes.
struct Ratings {
    In<int32_t, 1> users, items;
    In<float, 1> ratings;
    In<int64_t, 1> starts;
    In<int32_t, 2> order;
    In<float, 1> user_penalty, item_penalty;
    Out<float, 2> user_factors, item_factors;
    Out<float, 1> user_bias, item_bias;
    Out<double, 1> loss;

    SgdMf checked(float mean, float bias_penalty, float learning_rate, float limit) const {
        const int64_t n = ratings.shape(0), width = user_factors.shape(1), n_blocks = loss.shape(0);
        require(width % 8 == 0 && width > 0, "the width must be a multiple of 8");
        require(int64_t(item_factors.shape(1)) == width, "user_factors and item_factors differ in width");
        require(int64_t(users.shape(0)) == n && int64_t(items.shape(0)) == n, "users, items and ratings differ in length");
        require(int64_t(starts.shape(0)) == n_blocks + 1, "starts must have n_blocks + 1 entries, loss n_blocks");
        require(starts.data()[0] == 0 && starts.data()[n_blocks] == n, "starts must run from 0 to len(ratings)");
        for (int64_t b = 0; b < n_blocks; ++b) require(starts.data()[b] <= starts.data()[b + 1], "starts must not fall");
        const SgdSide user_side = side(users, user_penalty, user_factors, user_bias);
        const SgdSide item_side = side(items, item_penalty, item_factors, item_bias);
        for (int64_t at = 0; at < int64_t(order.size()); ++at) {
            const int32_t block = order.data()[at];
            require(0 <= block && block < n_blocks, "order must hold blocks");
            const int64_t begin = starts.data()[block], end = starts.data()[block + 1];
            require(within(users, begin, end, user_factors) && within(items, begin, end, item_factors),
                    "users and items must be rows of their factors");
        }
        return {user_side, item_side, ratings.data(), starts.data(), order.data(), nullptr, width,
                mean, bias_penalty, learning_rate, limit, 0, loss.data()};
    }

    static SgdSide side(const In<int32_t, 1> &rows, const In<float, 1> &penalty, const Out<float, 2> &factors,
                        const Out<float, 1> &bias) {
        require(penalty.shape(0) == factors.shape(0) && bias.shape(0) == factors.shape(0),
                "penalty and bias must have one entry a row of the factors");
        return {rows.data(), penalty.data(), factors.data(), bias.data(), nullptr, nullptr, nullptr, nullptr};
    }

    static bool within(const In<int32_t, 1> &rows, int64_t begin, int64_t end, const Out<float, 2> &factors) {
        bool fine = true;
        for (int64_t at = begin; at < end; ++at) fine &= uint32_t(rows.data()[at]) < factors.shape(0);
        return fine;
    }
};

// The blocks of a row of `order` share no user and no item: threads take them in any order, and wait at its end; or,
// asynchronously, go on with the next row.
template <class Block>
void over_strata(const SgdMf &mf, const In<int32_t, 2> &order, bool asynchronous, int threads, Block block) {
    const int64_t n_strata = asynchronous ? 1 : order.shape(0);
    const int64_t size = asynchronous ? order.size() : order.shape(1);
    threads = useful_threads(threads, size, 1);
    nb::gil_scoped_release release;
    for (int64_t stratum = 0; stratum < n_strata; ++stratum)
        over_blocks(size, 1, threads, [&](int64_t begin, int64_t, int) { block(mf, stratum * size + begin); });
}

void sgd_mf(In<int32_t, 1> users, In<int32_t, 1> items, In<float, 1> ratings, In<int64_t, 1> starts, In<int32_t, 2> order,
            In<float, 1> user_penalty, In<float, 1> item_penalty, float bias_penalty, float mean, float limit,
            float learning_rate, Out<float, 2> user_factors, Out<float, 2> item_factors, Out<float, 1> user_bias,
            Out<float, 1> item_bias, Out<double, 1> loss, bool asynchronous, int threads) {
    const Ratings all{users, items, ratings, starts, order, user_penalty, item_penalty, user_factors, item_factors,
                      user_bias, item_bias, loss};
    over_strata(all.checked(mean, bias_penalty, learning_rate, limit), order, asynchronous, threads, chosen.sgd_mf_plain);
}

void sgd_mf_adagrad(In<int32_t, 1> users, In<int32_t, 1> items, In<float, 1> ratings, In<int64_t, 1> starts,
                    In<int32_t, 2> order, In<float, 1> user_penalty, In<float, 1> item_penalty, float bias_penalty,
                    float mean, float limit, float learning_rate, Out<float, 2> user_factors, Out<float, 2> item_factors,
                    Out<float, 1> user_bias, Out<float, 1> item_bias, Out<double, 1> loss, bool asynchronous, int threads,
                    Out<float, 2> user_squares, Out<float, 2> item_squares) {
    const Ratings all{users, items, ratings, starts, order, user_penalty, item_penalty, user_factors, item_factors,
                      user_bias, item_bias, loss};
    SgdMf mf = all.checked(mean, bias_penalty, learning_rate, limit);
    require(user_squares.shape(1) == 2 && item_squares.shape(1) == 2 && user_squares.shape(0) == user_bias.shape(0) &&
                item_squares.shape(0) == item_bias.shape(0),
            "squares must have two entries a row");
    mf.users.squares = user_squares.data();
    mf.items.squares = item_squares.data();
    over_strata(mf, order, asynchronous, threads, chosen.sgd_mf_adagrad);
}

void sgd_mf_momentum(In<int32_t, 1> users, In<int32_t, 1> items, In<float, 1> ratings, In<int64_t, 1> starts,
                     In<int32_t, 2> order, In<float, 1> user_penalty, In<float, 1> item_penalty, float bias_penalty,
                     float mean, float limit, float learning_rate, Out<float, 2> user_factors,
                     Out<float, 2> item_factors, Out<float, 1> user_bias, Out<float, 1> item_bias, Out<double, 1> loss,
                     bool asynchronous, int threads, float momentum, In<int64_t, 2> steps, Out<float, 2> user_velocity,
                     Out<float, 2> item_velocity, Out<float, 1> user_bias_velocity, Out<float, 1> item_bias_velocity,
                     Out<int64_t, 1> user_touched, Out<int64_t, 1> item_touched) {
    const Ratings all{users, items, ratings, starts, order, user_penalty, item_penalty, user_factors, item_factors,
                      user_bias, item_bias, loss};
    SgdMf mf = all.checked(mean, bias_penalty, learning_rate, limit);
    require(0 <= momentum && momentum < 1, "momentum must be at least 0 and below 1");
    require(steps.shape(0) == order.shape(0) && steps.shape(1) == order.shape(1), "steps and order differ in shape");
    const auto give = [&](SgdSide &side, const Out<float, 2> &factors, const Out<float, 2> &velocity,
                          const Out<float, 1> &bias_velocity, const Out<int64_t, 1> &touched) {
        require(velocity.shape(0) == factors.shape(0) && velocity.shape(1) == factors.shape(1) &&
                    bias_velocity.shape(0) == factors.shape(0) && touched.shape(0) == factors.shape(0),
                "velocity, bias_velocity and touched must have the rows of the factors");
        side.velocity = velocity.data();
        side.bias_velocity = bias_velocity.data();
        side.touched = touched.data();
    };
    give(mf.users, user_factors, user_velocity, user_bias_velocity, user_touched);
    give(mf.items, item_factors, item_velocity, item_bias_velocity, item_touched);
    mf.steps = steps.data();
    mf.momentum = momentum;
    over_strata(mf, order, asynchronous, threads, chosen.sgd_mf_momentum);
}

}  // namespace

void bind_sgd_mf(nb::module_ &m) {
    using namespace nb::literals;
#define RECSYS_RATINGS                                                                                                \
    "users"_a.noconvert(), "items"_a.noconvert(), "ratings"_a.noconvert(), "starts"_a.noconvert(),                    \
        "order"_a.noconvert(), "user_penalty"_a.noconvert(), "item_penalty"_a.noconvert(), "bias_penalty"_a, "mean"_a, \
        "limit"_a, "learning_rate"_a, "user_factors"_a.noconvert(), "item_factors"_a.noconvert(),                      \
        "user_bias"_a.noconvert(), "item_bias"_a.noconvert(), "loss"_a.noconvert(), "asynchronous"_a, "threads"_a
    m.def("sgd_mf", &sgd_mf, RECSYS_RATINGS, "Gradient steps of biased matrix factorization on blocks of ratings.");
    m.def("sgd_mf_adagrad", &sgd_mf_adagrad, RECSYS_RATINGS, "user_squares"_a.noconvert(), "item_squares"_a.noconvert(),
          "AdaGrad steps of biased matrix factorization on blocks of ratings.");
    m.def("sgd_mf_momentum", &sgd_mf_momentum, RECSYS_RATINGS, "momentum"_a, "steps"_a.noconvert(),
          "user_velocity"_a.noconvert(), "item_velocity"_a.noconvert(), "user_bias_velocity"_a.noconvert(),
          "item_bias_velocity"_a.noconvert(), "user_touched"_a.noconvert(), "item_touched"_a.noconvert(),
          "Momentum steps of biased matrix factorization on blocks of ratings.");
#undef RECSYS_RATINGS
}

}  // namespace recsys
