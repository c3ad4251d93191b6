// Bindings of the stochastic gradient steps of biased matrix factorization. No numerics here.
#include "bindings.hpp"

namespace recsys {
namespace {

template <class T, int N>
using State = std::optional<Out<T, N>>;

// One side's arrays as they came from Python; those of other optimizers than the chosen one are missing.
struct Side {
    In<int32_t, 1> rows;
    Out<float, 2> factors;
    Out<float, 1> bias;
    State<float, 2> squares, velocity;
    State<float, 1> bias_velocity;
    State<int64_t, 1> touched;

    SgdSide checked() const {
        const size_t n = factors.shape(0), width = factors.shape(1);
        require(bias.shape(0) == n, "bias must have one entry a row of the factors");
        require(!squares || (squares->shape(0) == n && squares->shape(1) == 2), "squares must have two entries a row");
        require(!velocity || (velocity->shape(0) == n && velocity->shape(1) == width && bias_velocity && touched &&
                              bias_velocity->shape(0) == n && touched->shape(0) == n),
                "velocity, bias_velocity and touched come together and have the rows of the factors");
        return {rows.data(),       factors.data(),         bias.data(),     pointer(squares),
                pointer(velocity), pointer(bias_velocity), pointer(touched)};
    }

    bool holds_rows(int64_t begin, int64_t end) const {
        bool fine = true;
        for (int64_t at = begin; at < end; ++at) fine &= uint32_t(rows.data()[at]) < factors.shape(0);
        return fine;
    }
};

void check_blocks(const Side &users, const Side &items, const In<int64_t, 1> &starts, const In<int32_t, 2> &order,
                  int64_t n, int64_t n_blocks) {
    require(int64_t(starts.shape(0)) == n_blocks + 1, "starts must have n_blocks + 1 entries, loss n_blocks");
    require(starts.data()[0] == 0 && starts.data()[n_blocks] == n, "starts must run from 0 to len(ratings)");
    for (int64_t b = 0; b < n_blocks; ++b) require(starts.data()[b] <= starts.data()[b + 1], "starts must not fall");
    for (int64_t at = 0; at < int64_t(order.size()); ++at) {
        const int32_t block = order.data()[at];
        require(0 <= block && block < n_blocks, "order must hold blocks");
        const int64_t begin = starts.data()[block], end = starts.data()[block + 1];
        require(users.holds_rows(begin, end) && items.holds_rows(begin, end),
                "users and items must be rows of their factors");
    }
}

// The blocks of a row of `order` share no user and no item: threads take them in any order and wait at its end; or,
// asynchronously, go on with the next row.
template <class Block>
void over_strata(const SgdMf &mf, const In<int32_t, 2> &order, bool asynchronous, int threads, Block block) {
    const int64_t n_strata = asynchronous ? 1 : order.shape(0);
    const int64_t size = asynchronous ? order.size() : order.shape(1);
    threads = useful_threads(threads, size, 1);
    nb::gil_scoped_release release;
    for (int64_t stratum = 0; stratum < n_strata; ++stratum)
        over_blocks(size, 1, threads, [&](int64_t at, int64_t, int) { block(mf, stratum * size + at); });
}

void sgd_mf(In<int32_t, 1> users, In<int32_t, 1> items, In<float, 1> ratings, In<int64_t, 1> starts,
            In<int32_t, 2> order, float learning_rate, float bias_rate, float regularization, float limit,
            Out<float, 2> user_factors, Out<float, 2> item_factors, Out<float, 1> user_bias, Out<float, 1> item_bias,
            Out<double, 1> loss, bool asynchronous, int threads, State<float, 2> user_squares,
            State<float, 2> item_squares, float momentum, Maybe<int64_t, 2> steps, State<float, 2> user_velocity,
            State<float, 2> item_velocity, State<float, 1> user_bias_velocity, State<float, 1> item_bias_velocity,
            State<int64_t, 1> user_touched, State<int64_t, 1> item_touched) {
    const Side of_user{users, user_factors, user_bias, user_squares, user_velocity, user_bias_velocity, user_touched};
    const Side of_item{items, item_factors, item_bias, item_squares, item_velocity, item_bias_velocity, item_touched};
    const int64_t n = ratings.shape(0), width = user_factors.shape(1), n_blocks = loss.shape(0);
    require(width % 8 == 0 && width > 0, "the width must be a multiple of 8");
    require(int64_t(item_factors.shape(1)) == width, "user_factors and item_factors differ in width");
    require(int64_t(users.shape(0)) == n && int64_t(items.shape(0)) == n, "users, items and ratings differ in length");
    require(!user_squares == !item_squares && !user_velocity == !item_velocity && !user_velocity == !steps &&
                !(user_squares && user_velocity),
            "the state is squares of both sides, or velocities of both and steps, or none");
    require(0 <= momentum && momentum < 1, "momentum must be at least 0 and below 1");
    require(!steps || (steps->shape(0) == order.shape(0) && steps->shape(1) == order.shape(1)),
            "steps and order differ in shape");
    check_blocks(of_user, of_item, starts, order, n, n_blocks);
    const SgdMf mf = {of_user.checked(), of_item.checked(), ratings.data(), starts.data(), order.data(), pointer(steps), width,
                      learning_rate, bias_rate, regularization, limit, momentum, loss.data()};
    const auto block = user_squares ? chosen.sgd_mf_adagrad : user_velocity ? chosen.sgd_mf_momentum : chosen.sgd_mf_plain;
    over_strata(mf, order, asynchronous, threads, block);
}

}  // namespace

void bind_sgd_mf(nb::module_ &m) {
    using namespace nb::literals;
    m.def("sgd_mf", &sgd_mf, "users"_a.noconvert(), "items"_a.noconvert(), "ratings"_a.noconvert(),
          "starts"_a.noconvert(), "order"_a.noconvert(), "learning_rate"_a, "bias_rate"_a, "regularization"_a, "limit"_a,
          "user_factors"_a.noconvert(), "item_factors"_a.noconvert(), "user_bias"_a.noconvert(),
          "item_bias"_a.noconvert(), "loss"_a.noconvert(), "asynchronous"_a, "threads"_a,
          "user_squares"_a.noconvert() = nb::none(), "item_squares"_a.noconvert() = nb::none(), "momentum"_a = 0.0f,
          "steps"_a.noconvert() = nb::none(), "user_velocity"_a.noconvert() = nb::none(),
          "item_velocity"_a.noconvert() = nb::none(), "user_bias_velocity"_a.noconvert() = nb::none(),
          "item_bias_velocity"_a.noconvert() = nb::none(), "user_touched"_a.noconvert() = nb::none(),
          "item_touched"_a.noconvert() = nb::none(),
          "Gradient steps of biased matrix factorization on blocks of ratings: plain, AdaGrad or momentum, by the state "
          "that is given.");
}

}  // namespace recsys
