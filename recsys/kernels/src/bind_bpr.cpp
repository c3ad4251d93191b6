// Bindings of the ranking losses. No numerics here.
#include <nanobind/stl/string.h>

#include <string>

#include "bindings.hpp"

namespace recsys {
namespace {

Ranking ranking(const std::string &loss) {
    require(loss == "bpr" || loss == "warp" || loss == "softmax" || loss == "bpr_mean", "loss is bpr, warp or softmax");
    return loss == "bpr" ? Ranking::bpr : loss == "warp" ? Ranking::warp : loss=="softmax" ? Ranking::softmax : Ranking::bpr_mean;
}

template <class T>
void require_rows(const In<T, 1> &rows, int64_t count, const char *message) {
    for (int64_t at = 0; at < int64_t(rows.shape(0)); ++at)
        require(0 <= rows.data()[at] && rows.data()[at] < count, message);
}

struct BprArguments {
    In<int32_t, 1> users, items, blocks;
    In<int64_t, 1> indptr;
    In<int32_t, 1> indices;
    Maybe<uint32_t, 1> threshold;
    Maybe<int32_t, 1> alias;
    In<float, 1> log_q;
    Out<float, 2> x, y;
    Out<float, 1> bias;
    std::optional<Out<float, 1>> x_sum, y_sum, bias_sum;

    BprEpoch checked(int64_t block_size, int64_t negatives, uint64_t key, Ranking loss, float learning_rate,
                     float regularization) const {
        const int64_t n_users = x.shape(0), n_items = y.shape(0), width = x.shape(1), n = users.shape(0);
        require(width % 8 == 0 && width > 0 && int64_t(y.shape(1)) == width, "x and y must have one width, a multiple of 8");
        require(int64_t(items.shape(0)) == n, "users and items must be of one length");
        require(negatives >= 1 && negatives <= 1 << 20, "negatives must be 1 to 2^20");
        require(block_size >= 1, "block_size must be at least 1");
        require(int64_t(indptr.shape(0)) == n_users + 1, "indptr must have n_users + 1 entries");
        require(indptr.data()[0] == 0 && indptr.data()[n_users] == int64_t(indices.shape(0)),
                "indptr must run from 0 to len(indices)");
        for (int64_t u = 0; u < n_users; ++u) require(indptr.data()[u] <= indptr.data()[u + 1], "indptr must not fall");
        require_rows(users, n_users, "users must be rows of x");
        require_rows(items, n_items, "items must be rows of y");
        require_rows(indices, n_items, "indices must be rows of y");
        require_rows(blocks, (n + block_size - 1) / block_size, "blocks must be blocks of the positives");
        require(threshold.has_value() == alias.has_value(), "threshold and alias come together");
        if (alias) require_rows(*alias, n_items, "alias must hold rows of y");
        for (int64_t size : {int64_t(log_q.shape(0)), int64_t(bias.shape(0)), threshold ? int64_t(threshold->shape(0)) : n_items,
                             alias ? int64_t(alias->shape(0)) : n_items, y_sum ? int64_t(y_sum->shape(0)) : n_items,
                             bias_sum ? int64_t(bias_sum->shape(0)) : n_items})
            require(size == n_items, "what items have must have one entry an item");
        require(x_sum.has_value() == y_sum.has_value() && x_sum.has_value() == bias_sum.has_value(), "sums come together");
        require(!x_sum || int64_t(x_sum->shape(0)) == n_users, "x_sum must have one entry a user");
        return {users.data(), items.data(), blocks.data(), indptr.data(), indices.data(), pointer(threshold), pointer(alias),
                log_q.data(), n, int64_t(blocks.shape(0)), block_size, n_items, width, negatives, key, loss, learning_rate,
                regularization, x.data(), y.data(), bias.data(), pointer(x_sum), pointer(y_sum), pointer(bias_sum)};
    }
};

double bpr_epoch(In<int32_t, 1> users, In<int32_t, 1> items, In<int32_t, 1> blocks, int64_t block_size,
                 In<int64_t, 1> indptr, In<int32_t, 1> indices, Maybe<uint32_t, 1> threshold, Maybe<int32_t, 1> alias,
                 In<float, 1> log_q, const std::string &loss, int64_t negatives, uint64_t key, float learning_rate,
                 float regularization, Out<float, 2> x, Out<float, 2> y, Out<float, 1> bias,
                 std::optional<Out<float, 1>> x_sum, std::optional<Out<float, 1>> y_sum,
                 std::optional<Out<float, 1>> bias_sum, int threads) {
    const BprEpoch epoch = BprArguments{users, items, blocks, indptr, indices, threshold, alias, log_q, x, y, bias, x_sum, y_sum, bias_sum}
                               .checked(block_size, negatives, key, ranking(loss), learning_rate, regularization);
    threads = useful_threads(threads, epoch.n_blocks, 1);
    std::vector<std::vector<float>> reals(threads, std::vector<float>(bpr_reals(epoch.width, negatives)));
    std::vector<std::vector<int32_t>> rows(threads, std::vector<int32_t>(bpr_rows(negatives)));
    std::vector<double> losses(threads);
    nb::gil_scoped_release release;
    over_blocks(epoch.n_blocks, 1, threads, [&](int64_t begin, int64_t end, int thread) {
        losses[thread] += chosen.bpr_blocks(epoch, begin, end, reals[thread].data(), rows[thread].data());
    });
    double total = 0;
    for (double of_thread : losses) total += of_thread;
    return total;
}

}  // namespace

void bind_bpr(nb::module_ &m) {
    using namespace nb::literals;
    m.def("bpr_epoch", &bpr_epoch, "users"_a.noconvert(), "items"_a.noconvert(), "blocks"_a.noconvert(), "block_size"_a,
          "indptr"_a.noconvert(), "indices"_a.noconvert(), "threshold"_a.noconvert().none(), "alias"_a.noconvert().none(),
          "log_q"_a.noconvert(), "loss"_a, "negatives"_a, "key"_a, "learning_rate"_a, "regularization"_a,
          "x"_a.noconvert(), "y"_a.noconvert(), "bias"_a.noconvert(), "x_sum"_a.noconvert().none(),
          "y_sum"_a.noconvert().none(), "bias_sum"_a.noconvert().none(), "threads"_a,
          "Gradient steps on blocks of positives, each against drawn negatives; returns the sum of the loss.");
}

}  // namespace recsys
