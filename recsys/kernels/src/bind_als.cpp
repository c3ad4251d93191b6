// Bindings of the row solvers of implicit ALS. No numerics here.
#include "bindings.hpp"

namespace recsys {
namespace {

// No branch within, so that the compiler vectorises; a negative index is a large one.
bool all_below(const int32_t *indices, int64_t count, int64_t bound) {
    uint32_t largest = 0;
    for (int64_t at = 0; at < count; ++at) largest = std::max(largest, uint32_t(indices[at]));
    return count == 0 || int64_t(largest) < bound;
}

struct AlsArguments {
    In<int64_t, 1> indptr;
    In<int32_t, 1> indices;
    Maybe<float, 1> weights;
    In<float, 2> factors;
    In<float, 1> dense, penalty;
    In<int32_t, 1> order;
    Out<float, 2> x;
    Out<double, 1> loss;

    AlsRows checked(float weight, float shift, int64_t steps, float relaxation) const {
        const int64_t n_rows = x.shape(0), n_columns = factors.shape(0), width = factors.shape(1), nnz = indices.shape(0);
        require(width % 8 == 0 && width > 0, "the width must be a multiple of 8");
        require(int64_t(x.shape(1)) == width && int64_t(dense.shape(0)) == width, "x, dense and factors differ in width");
        require(int64_t(indptr.shape(0)) == n_rows + 1, "indptr must have n_rows + 1 entries");
        require(int64_t(penalty.shape(0)) == n_rows && int64_t(loss.shape(0)) == n_rows,
                "penalty and loss must have one entry a row");
        require(!weights || int64_t(weights->shape(0)) == nnz, "weights must have one entry an index");
        require(indptr.data()[0] == 0 && indptr.data()[n_rows] == nnz, "indptr must run from 0 to len(indices)");
        for (int64_t at = 0; at < int64_t(order.shape(0)); ++at) {  // only what will be read is checked: calls are many
            const int64_t u = order.data()[at];
            require(0 <= u && u < n_rows, "order must hold rows");
            const int64_t begin = indptr.data()[u], end = indptr.data()[u + 1];
            require(0 <= begin && begin <= end && end <= nnz, "indptr must not fall");
            require(all_below(indices.data() + begin, end - begin, n_columns), "indices must be rows of factors");
        }
        return {indptr.data(), indices.data(), pointer(weights), factors.data(), dense.data(), penalty.data(), order.data(),
                int64_t(order.shape(0)), width, weight, shift, relaxation, steps, x.data(), loss.data()};
    }
};

template <class Number, class Block>
void solve_rows(const AlsRows &args, int threads, int64_t scratch_size, Block block) {
    threads = useful_threads(threads, args.n_order, row_block);
    std::vector<std::vector<Number>> scratch(threads, std::vector<Number>(scratch_size));
    nb::gil_scoped_release release;
    over_blocks(args.n_order, row_block, threads,
                [&](int64_t begin, int64_t end, int thread) { block(args, begin, end, scratch[thread].data()); });
}

void als_cg(In<int64_t, 1> indptr, In<int32_t, 1> indices, Maybe<float, 1> weights, float weight, float shift,
              In<float, 2> factors, In<float, 1> dense, In<float, 1> penalty, In<int32_t, 1> order, int64_t steps,
              float relaxation, Out<float, 2> x, Out<double, 1> loss, int threads) {
    const AlsArguments arguments{indptr, indices, weights, factors, dense, penalty, order, x, loss};
    solve_rows<float>(arguments.checked(weight, shift, steps, relaxation), threads, als_scratch(factors.shape(1)), chosen.als_block);
}

void als_exact(In<int64_t, 1> indptr, In<int32_t, 1> indices, Maybe<float, 1> weights, float weight, float shift,
               In<float, 2> factors, In<float, 1> dense, In<float, 1> penalty, In<int32_t, 1> order, Out<float, 2> x,
               Out<double, 1> loss, int threads) {
    const AlsArguments arguments{indptr, indices, weights, factors, dense, penalty, order, x, loss};
    solve_rows<double>(arguments.checked(weight, shift, 0, 1), threads, als_exact_scratch(factors.shape(1)), chosen.als_exact_block);
}

}  // namespace

void bind_als(nb::module_ &m) {
    using namespace nb::literals;
    m.def("als_cg", &als_cg, "indptr"_a.noconvert(), "indices"_a.noconvert(), "weights"_a.noconvert().none(), "weight"_a,
          "shift"_a, "factors"_a.noconvert(), "dense"_a.noconvert(), "penalty"_a.noconvert(), "order"_a.noconvert(),
          "steps"_a, "relaxation"_a, "x"_a.noconvert(), "loss"_a.noconvert(), "threads"_a,
          "Conjugate gradient steps on rows of implicit ALS, written to x and loss.");
    m.def("als_exact", &als_exact, "indptr"_a.noconvert(), "indices"_a.noconvert(), "weights"_a.noconvert().none(),
          "weight"_a, "shift"_a, "factors"_a.noconvert(), "dense"_a.noconvert(), "penalty"_a.noconvert(),
          "order"_a.noconvert(), "x"_a.noconvert(), "loss"_a.noconvert(), "threads"_a,
          "Exact solution of rows of implicit ALS by Cholesky in double precision, written to x and loss.");
}

}  // namespace recsys
