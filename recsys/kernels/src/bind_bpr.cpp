// Bindings of the ranking losses. No numerics here.
#include <nanobind/stl/string.h>

#include <string>

#include "bindings.hpp"

namespace recsys {
namespace {

struct BprArguments {
    In<int32_t, 1> users, items, blocks;
    In<int64_t, 1> indptr;
    In<int32_t, 1> indices;
    Maybe<uint32_t, 1> threshold;
    Maybe<int32_t, 1> alias;
    In<float, 1> log_q;
    Out<float, 2> x, y;
    Out<float, 1> bias;
    MaybeOut<float, 1> x_sum, y_sum, bias_sum;

    BprBlocks checked(int64_t block_size, const std::string &loss, int64_t negatives, uint64_t key, float learning_rate,
                      float regularization) const {
        const int64_t n = users.shape(0), n_users = x.shape(0), n_items = y.shape(0), width = x.shape(1);
        const int64_t n_blocks = blocks.shape(0);
        require(width % 8 == 0 && width > 0 && int64_t(y.shape(1)) == width, "x and y must have one width, a multiple of 8");
        require(int64_t(items.shape(0)) == n, "users and items must be of one length");
        require(1 <= negatives && negatives <= 1 << 20, "negatives must be 1 to 2^20");
        require_block_size(block_size);
        require_positives(n, block_size, n_users, n_items);
        require(int64_t(indptr.shape(0)) == n_users + 1, "indptr must have n_users + 1 entries");
        require_csr(indptr, indices, "indptr must rise from 0 to len(indices)");
        require(threshold.has_value() == alias.has_value(), "threshold and alias come together");
        require(!alias || (entries(*threshold, n_items) && entries(*alias, n_items)), "the alias table must have a slot an item");
        require(!alias || within(alias->data(), 0, n_items, n_items), "alias must hold rows of y");
        require(entries(log_q, n_items) && entries(bias, n_items), "log_q and bias must have one entry an item");
        require(x_sum.has_value() == y_sum.has_value() && x_sum.has_value() == bias_sum.has_value(), "sums come together");
        require(!x_sum || (entries(*x_sum, n_users) && entries(*y_sum, n_items) && entries(*bias_sum, n_items)),
                "sums must have one entry a row");
        return {users.data(), items.data(), blocks.data(), indptr.data(), indices.data(), pointer(threshold), pointer(alias),
                log_q.data(), n, n_blocks, block_size, n_items, width, negatives, key, ranking(loss), learning_rate,
                regularization, x.data(), y.data(), bias.data(), pointer(x_sum), pointer(y_sum), pointer(bias_sum)};
    }

    // Only the blocks of this call are read: an epoch of many calls checks every positive once.
    void require_positives(int64_t n, int64_t size, int64_t n_users, int64_t n_items) const {
        for (size_t at = 0; at < blocks.shape(0); ++at) {
            const int64_t begin = blocks.data()[at] * size, end = std::min(n, begin + size);
            require(0 <= begin && begin < n, "blocks must be blocks of the positives");
            require(within(users.data(), begin, end, n_users), "users must be rows of x");
            require(within(items.data(), begin, end, n_items), "items must be rows of y");
        }
    }
};

double bpr_blocks(In<int32_t, 1> users, In<int32_t, 1> items, In<int32_t, 1> blocks, int64_t block_size,
                  In<int64_t, 1> indptr, In<int32_t, 1> indices, Maybe<uint32_t, 1> threshold, Maybe<int32_t, 1> alias,
                  In<float, 1> log_q, const std::string &loss, int64_t negatives, uint64_t key, float learning_rate,
                  float regularization, Out<float, 2> x, Out<float, 2> y, Out<float, 1> bias, MaybeOut<float, 1> x_sum,
                  MaybeOut<float, 1> y_sum, MaybeOut<float, 1> bias_sum, int threads) {
    const BprArguments arguments{users, items, blocks, indptr, indices, threshold, alias, log_q, x, y, bias, x_sum, y_sum, bias_sum};
    const BprBlocks args = arguments.checked(block_size, loss, negatives, key, learning_rate, regularization);
    threads = useful_threads(threads, args.n_blocks, 1);
    std::vector<std::vector<float>> reals(threads, std::vector<float>(bpr_reals(args.width, negatives)));
    std::vector<std::vector<int32_t>> rows(threads, std::vector<int32_t>(bpr_rows(negatives)));
    std::vector<double> losses(threads);
    nb::gil_scoped_release release;
    over_blocks(args.n_blocks, 1, threads, [&](int64_t begin, int64_t end, int thread) {
        losses[thread] += chosen.bpr_range(args, begin, end, reals[thread].data(), rows[thread].data());
    });
    double total = 0;
    for (double of_thread : losses) total += of_thread;
    return total;
}

}  // namespace

void bind_bpr(nb::module_ &m) {
    using namespace nb::literals;
    m.def("bpr_blocks", &bpr_blocks, "users"_a.noconvert(), "items"_a.noconvert(), "blocks"_a.noconvert(), "block_size"_a,
          "indptr"_a.noconvert(), "indices"_a.noconvert(), "threshold"_a.noconvert().none(), "alias"_a.noconvert().none(),
          "log_q"_a.noconvert(), "loss"_a, "negatives"_a, "key"_a, "learning_rate"_a, "regularization"_a,
          "x"_a.noconvert(), "y"_a.noconvert(), "bias"_a.noconvert(), "x_sum"_a.noconvert().none(),
          "y_sum"_a.noconvert().none(), "bias_sum"_a.noconvert().none(), "threads"_a,
          "Gradient steps of a ranking loss on blocks of positives; returns the sum of the loss.");
}

}  // namespace recsys
