// Bindings of the gradient steps of factorization machines. No numerics here.
#include <nanobind/stl/string.h>

#include <cmath>
#include <string>

#include "bindings.hpp"

namespace recsys {
namespace {

Pointwise pointwise(const std::string &loss) {
    require(loss == "squared" || loss == "logistic" || loss == "hinge", "loss is squared, logistic or hinge");
    return loss == "squared" ? Pointwise::squared : loss == "logistic" ? Pointwise::logistic : Pointwise::hinge;
}

// The rows of the samples of these blocks are rows of the table. Returns the number of features of the longest sample.
int64_t longest_sample(const FmSgd &fm, int64_t n_blocks, int64_t n_rows, int64_t n_entries) {
    int64_t longest = 0;
    for (int64_t at = 0; at < n_blocks; ++at) {
        const int64_t begin = fm.blocks[at] * fm.block_size, end = std::min(fm.n, begin + fm.block_size);
        require(0 <= begin && begin < fm.n, "blocks must be blocks of the samples");
        for (int64_t place = begin; place < end; ++place) {
            int64_t count = 0;
            for (int64_t part = 0; part < fm.parts; ++part) {
                const int64_t row = fm.rows[place * fm.parts + part];
                require(0 <= row && row < n_rows, "rows must be rows of the table");
                const int64_t first = fm.indptr[row], last = fm.indptr[row + 1];
                require(0 <= first && first <= last && last <= n_entries, "indptr must rise, up to len(features)");
                count += last - first;
            }
            longest = std::max(longest, count);
        }
    }
    return longest;
}

struct FmMachine {
    Out<float, 1> bias, weights;
    Out<float, 2> vectors;
    MaybeOut<float, 1> bias_state;
    MaybeOut<float, 2> squares, velocity;
    MaybeOut<float, 1> weight_velocity;
    MaybeOut<int64_t, 1> touched;
    Maybe<int32_t, 1> field_of;
    MaybeOut<float, 2> field_weights, field_state;

    void put(FmSgd &fm) const {
        const int64_t n = fm.n_features = vectors.shape(0), width = fm.width = vectors.shape(1);
        require(width % 8 == 0, "the width of vectors must be a multiple of 8");
        require(entries(bias, 1) && entries(weights, n), "bias must have one entry, weights one a row of vectors");
        require(!(squares && velocity) && bias_state.has_value() == (squares || velocity),
                "the state is bias_state and squares, or bias_state and velocities, or none");
        require(!bias_state || entries(*bias_state, 1), "bias_state must have one entry");
        require(!squares || shaped(*squares, n, 2), "squares must have two entries a feature");
        require(velocity.has_value() == weight_velocity.has_value() && velocity.has_value() == touched.has_value() &&
                    (!velocity || (shaped(*velocity, n, width) && entries(*weight_velocity, n) && entries(*touched, n))),
                "velocity, weight_velocity and touched come together and have the shapes of the parameters");
        require(field_of.has_value() == field_weights.has_value() && (field_weights || !field_state),
                "field_of and field_weights come together, field_state only with them");
        put_fields(fm);
        fm.bias = bias.data(), fm.weights = weights.data(), fm.vectors = vectors.data();
        fm.bias_state = pointer(bias_state), fm.squares = pointer(squares), fm.velocity = pointer(velocity);
        fm.weight_velocity = pointer(weight_velocity), fm.touched = pointer(touched);
    }

    void put_fields(FmSgd &fm) const {
        if (!field_weights) return;
        const int64_t n = fm.n_fields = field_weights->shape(0);
        require(shaped(*field_weights, n, n) && (!field_state || shaped(*field_state, n, n)),
                "field_weights and field_state must be square and of one shape");
        require(entries(*field_of, fm.n_features), "field_of must have one entry a feature");
        bool fine = true;
        for (int64_t j = 0; j < fm.n_features; ++j) fine &= uint32_t(field_of->data()[j]) < uint64_t(n);
        require(fine, "field_of must hold rows of field_weights");
        fm.field_of = field_of->data(), fm.field_weights = field_weights->data(), fm.field_state = pointer(field_state);
    }
};

double fm_sgd(In<int64_t, 1> indptr, In<int32_t, 1> features, Maybe<float, 1> values, In<int32_t, 2> rows,
              In<float, 1> targets, Maybe<float, 1> sample_weight, In<int32_t, 1> blocks, int64_t block_size,
              const std::string &loss, float limit, float learning_rate, float regularization, float weight_regularization,
              Out<float, 1> bias, Out<float, 1> weights, Out<float, 2> vectors, int threads, MaybeOut<float, 1> bias_state,
              MaybeOut<float, 2> squares, float momentum, int64_t step, MaybeOut<float, 2> velocity,
              MaybeOut<float, 1> weight_velocity, MaybeOut<int64_t, 1> touched, Maybe<int32_t, 1> field_of,
              MaybeOut<float, 2> field_weights, MaybeOut<float, 2> field_state) {
    FmSgd fm = {};
    fm.n = rows.shape(0), fm.parts = rows.shape(1), fm.block_size = block_size, fm.step = step;
    fm.indptr = indptr.data(), fm.features = features.data(), fm.values = pointer(values), fm.rows = rows.data();
    fm.targets = targets.data(), fm.sample_weight = pointer(sample_weight), fm.blocks = blocks.data();
    fm.loss = pointwise(loss), fm.limit = limit, fm.learning_rate = learning_rate, fm.momentum = momentum;
    fm.regularization = regularization, fm.weight_regularization = weight_regularization;
    require_block_size(block_size);
    require(indptr.shape(0) >= 1 && 0 <= step && step <= INT64_MAX / 2, "indptr must not be empty, step not be negative");
    require(!values || entries(*values, features.shape(0)), "values must have the length of features");
    require(entries(targets, fm.n) && (!sample_weight || entries(*sample_weight, fm.n)),
            "targets and sample_weight must have one entry a sample");
    require(0 <= momentum && momentum < 1, "momentum must be at least 0 and below 1");
    fm.memory = int64_t(std::log(1e-15) / std::log(double(momentum)));
    const FmMachine machine{bias,     weights,         vectors, bias_state, squares,
                            velocity, weight_velocity, touched, field_of,   field_weights, field_state};
    machine.put(fm);
    const int64_t n_blocks = blocks.shape(0);
    fm.longest = longest_sample(fm, n_blocks, int64_t(indptr.shape(0)) - 1, features.shape(0));
    threads = useful_threads(threads, n_blocks, 1);
    std::vector<std::vector<float>> reals(threads, std::vector<float>(fm_reals(fm)));
    std::vector<std::vector<int32_t>> integers(threads, std::vector<int32_t>(fm_integers(fm)));
    std::vector<double> losses(threads);
    std::atomic<bool> fine{true};
    const auto range = fm.field_weights ? chosen.fm_fields_range : chosen.fm_sgd_range;
    {
        nb::gil_scoped_release release;
        // One thread takes all blocks at once: within a call nothing has to be set up again.
        over_blocks(n_blocks, threads == 1 ? n_blocks : 1, threads, [&](int64_t begin, int64_t end, int thread) {
            if (!range(fm, begin, end, reals[thread].data(), integers[thread].data(), losses[thread])) fine = false;
        });
    }
    require(fine, "features must be rows of vectors; the samples before the first that is not have been worked on");
    double total = 0;
    for (double of_thread : losses) total += of_thread;
    return total;
}

}  // namespace

void bind_fm_sgd(nb::module_ &m) {
    using namespace nb::literals;
    m.def("fm_sgd", &fm_sgd, "indptr"_a.noconvert(), "features"_a.noconvert(), "values"_a.noconvert().none(),
          "rows"_a.noconvert(), "targets"_a.noconvert(), "sample_weight"_a.noconvert().none(), "blocks"_a.noconvert(),
          "block_size"_a, "loss"_a, "limit"_a, "learning_rate"_a, "regularization"_a, "weight_regularization"_a,
          "bias"_a.noconvert(), "weights"_a.noconvert(), "vectors"_a.noconvert(), "threads"_a,
          "bias_state"_a.noconvert() = nb::none(), "squares"_a.noconvert() = nb::none(), "momentum"_a = 0.0f,
          "step"_a = 0, "velocity"_a.noconvert() = nb::none(), "weight_velocity"_a.noconvert() = nb::none(),
          "touched"_a.noconvert() = nb::none(), "field_of"_a.noconvert() = nb::none(),
          "field_weights"_a.noconvert() = nb::none(), "field_state"_a.noconvert() = nb::none(),
          "Gradient steps of a factorization machine on blocks of samples, plain, AdaGrad or momentum by the state that "
          "is given; returns the sum of the loss.");
}

}  // namespace recsys
