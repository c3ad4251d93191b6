// Bindings of the ranking losses of factorization machines. No numerics here.
#include <nanobind/stl/string.h>

#include <string>

#include "bindings.hpp"

namespace recsys {
namespace {

// Floats that begin with a cache line.
class Lines {
public:
    explicit Lines(int64_t count) : room(count + line) {}
    float *data() { return room.data() + (line - uintptr_t(room.data()) / sizeof(float) % line) % line; }

private:
    static constexpr int64_t line = 16;
    std::vector<float> room;
};

struct FmRankArguments {
    In<int32_t, 1> users;
    In<int32_t, 2> query_rows;
    In<int32_t, 1> items;
    Maybe<float, 1> sample_weight;
    In<int32_t, 1> blocks;
    In<int64_t, 1> indptr;
    In<int32_t, 1> features;
    Maybe<float, 1> values;
    In<int64_t, 1> user_indptr;
    In<int32_t, 1> user_items;
    In<uint16_t, 1> user_bits;
    In<int32_t, 1> candidates;
    Maybe<uint32_t, 1> threshold;
    Maybe<int32_t, 1> alias;
    In<float, 1> log_q;
    Out<float, 2> vectors;
    Out<float, 1> weights;
    MaybeOut<float, 1> vector_sums, weight_sums;

    FmRank checked(int64_t block_size, int64_t first_item, bool in_batch, const std::string &loss, int64_t negatives,
                   uint64_t key, float learning_rate, float regularization, float weight_regularization) const {
        const int64_t n = users.shape(0), n_query = query_rows.shape(1), n_items = log_q.shape(0);
        const int64_t n_features = vectors.shape(0), width = vectors.shape(1), n_candidates = candidates.shape(0);
        require(width % 8 == 0, "the width of vectors must be a multiple of 8");
        require(entries(weights, n_features), "weights must have one entry a feature");
        require(vector_sums.has_value() == weight_sums.has_value(), "sums come together");
        require(!vector_sums || (entries(*vector_sums, n_features) && entries(*weight_sums, n_features)),
                "sums must have one entry a feature");
        require(1 <= negatives && negatives <= 1 << 20, "negatives must be 1 to 2^20");
        require_block_size(block_size);
        require_csr(indptr, features, "indptr must rise from 0 to the number of features");
        require(within(features.data(), 0, features.shape(0), n_features), "features must be rows of vectors");
        require(!values || entries(*values, features.shape(0)), "values must have one entry a feature of the table");
        require(0 <= first_item && first_item < int64_t(indptr.shape(0)) - n_items, "items must be rows of the table");
        require_csr(user_indptr, user_items, "user_indptr must rise from 0 to len(user_items)");
        require(entries(user_bits, user_items.shape(0)), "user_bits must have one entry an item of a user");
        require(n_candidates > 0 && within(candidates.data(), 0, n_candidates, n_items), "candidates must be items, one at least");
        require(threshold.has_value() == alias.has_value(), "threshold and alias come together");
        require(!alias || (entries(*threshold, n_candidates) && entries(*alias, n_candidates)),
                "the alias table must have a slot a candidate");
        require(!alias || within(alias->data(), 0, n_candidates, n_candidates), "alias must hold candidates");
        require(entries(items, n) && int64_t(query_rows.shape(0)) == n, "users, query_rows and items must be of one length");
        require(!sample_weight || entries(*sample_weight, n), "sample_weight must have one entry a positive");
        require_positives(block_size, n_items);
        return {users.data(), query_rows.data(), items.data(), pointer(sample_weight), blocks.data(), indptr.data(),
                features.data(), pointer(values), user_indptr.data(), user_items.data(), user_bits.data(),
                candidates.data(), pointer(threshold), pointer(alias), log_q.data(), only_ids(), in_batch, n,
                int64_t(blocks.shape(0)), block_size, n_query, first_item, n_candidates, width, negatives, key, ranking(loss), learning_rate, regularization, weight_regularization,
                vectors.data(), weights.data(), pointer(vector_sums), pointer(weight_sums), n_items, nullptr, nullptr};
    }

    bool only_ids() const {
        bool one_each = !values;
        for (size_t r = 0; r < indptr.shape(0); ++r) one_each &= indptr.data()[r] == int64_t(r);
        return one_each;
    }

    // Only the blocks of this call are read: an epoch of many calls checks every positive once.
    void require_positives(int64_t size, int64_t n_items) const {
        const int64_t n = users.shape(0), n_query = query_rows.shape(1);
        const int64_t n_users = user_indptr.shape(0) - 1, n_rows = indptr.shape(0) - 1;
        for (size_t at = 0; at < blocks.shape(0); ++at) {
            const int64_t begin = blocks.data()[at] * size, end = std::min(n, begin + size);
            require(0 <= begin && begin < n, "blocks must be blocks of the positives");
            require(within(users.data(), begin, end, n_users), "users must be rows of user_indptr");
            require(within(items.data(), begin, end, n_items), "items must be below n_items");
            require(within(query_rows.data(), begin * n_query, end * n_query, n_rows), "query_rows must be rows of the table");
        }
    }
};

double fm_rank(In<int32_t, 1> users, In<int32_t, 2> query_rows, In<int32_t, 1> items, Maybe<float, 1> sample_weight,
               In<int32_t, 1> blocks, int64_t block_size, In<int64_t, 1> indptr, In<int32_t, 1> features,
               Maybe<float, 1> values, int64_t first_item, In<int64_t, 1> user_indptr, In<int32_t, 1> user_items,
               In<uint16_t, 1> user_bits, In<int32_t, 1> candidates, Maybe<uint32_t, 1> threshold, Maybe<int32_t, 1> alias, In<float, 1> log_q,
               bool in_batch, const std::string &loss, int64_t negatives, uint64_t key, float learning_rate,
               float regularization, float weight_regularization, Out<float, 2> vectors, Out<float, 1> weights,
               MaybeOut<float, 1> vector_sums, MaybeOut<float, 1> weight_sums, int threads) {
    const FmRankArguments arguments{users, query_rows, items, sample_weight, blocks, indptr, features, values,
                                    user_indptr, user_items, user_bits, candidates, threshold, alias, log_q, vectors,
                                    weights, vector_sums, weight_sums};
    FmRank args = arguments.checked(block_size, first_item, in_batch, loss, negatives, key, learning_rate,
                                    regularization, weight_regularization);
    const bool screened = args.loss == Ranking::warp && !args.only_ids;
    Lines table(screened ? args.n_items * (args.width + 1) : 0);
    if (screened) args.item_vectors = table.data(), args.item_scores = table.data() + args.n_items * args.width;
    threads = useful_threads(threads, args.n_blocks, 1);
    const int64_t ahead = (fm_rank_ahead + 1) * fm_rank_places(negatives);
    std::vector<std::vector<float>> reals(threads, std::vector<float>(fm_rank_reals(args.width, negatives)));
    std::vector<std::vector<int32_t>> drawn_items(threads, std::vector<int32_t>(ahead));
    std::vector<double> losses(threads);
    nb::gil_scoped_release release;
    if (screened)
        over_blocks(args.n_items, 4096, threads, [&](int64_t begin, int64_t end, int thread) {
            chosen.fm_rank_items(args, begin, end, reals[thread].data());
        });
    over_blocks(args.n_blocks, 1, threads, [&](int64_t begin, int64_t end, int thread) {
        losses[thread] +=
            chosen.fm_rank_range(args, begin, end, reals[thread].data(), drawn_items[thread].data());
    });
    double total = 0;
    for (double of_thread : losses) total += of_thread;
    return total;
}

}  // namespace

void bind_fm_rank(nb::module_ &m) {
    using namespace nb::literals;
    m.def("fm_rank", &fm_rank, "users"_a.noconvert(), "query_rows"_a.noconvert(), "items"_a.noconvert(),
          "sample_weight"_a.noconvert().none(), "blocks"_a.noconvert(), "block_size"_a, "indptr"_a.noconvert(),
          "features"_a.noconvert(), "values"_a.noconvert().none(), "first_item"_a, "user_indptr"_a.noconvert(),
          "user_items"_a.noconvert(), "user_bits"_a.noconvert(), "candidates"_a.noconvert(),
          "threshold"_a.noconvert().none(), "alias"_a.noconvert().none(), "log_q"_a.noconvert(), "in_batch"_a, "loss"_a, "negatives"_a, "key"_a,
          "learning_rate"_a, "regularization"_a, "weight_regularization"_a, "vectors"_a.noconvert(),
          "weights"_a.noconvert(), "vector_sums"_a.noconvert().none(), "weight_sums"_a.noconvert().none(), "threads"_a,
          "Gradient steps of a ranking loss of a factorization machine on blocks of positives; returns the sum of the loss.");
}

}  // namespace recsys
