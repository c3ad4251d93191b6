// The extension module: checks shapes, picks the instruction set, spreads blocks over threads. No numerics here.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "als.hpp"
#include "topk.hpp"

namespace nb = nanobind;
using namespace recsys;

namespace {

template <class T, int N>
using In = nb::ndarray<const T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;
template <class T, int N>
using Out = nb::ndarray<T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;
template <class T, int N>
using Maybe = std::optional<In<T, N>>;

struct InstructionSet {
    const char *name;
    void (*search_block)(const Search &, int64_t, int64_t, float *);
    void (*select_block)(const Select &, int64_t, int64_t);
    void (*als_block)(const AlsRows &, int64_t, int64_t, float *);
    void (*als_exact_block)(const AlsRows &, int64_t, int64_t, double *);
};

// Best first; the last one runs everywhere.
std::vector<InstructionSet> supported_sets() {
    std::vector<InstructionSet> sets;
#ifdef RECSYS_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("x86-64-v4")) sets.push_back({"x86-64-v4", v4::search_block, v4::select_block, v4::als_block, v4::als_exact_block});
    if (__builtin_cpu_supports("x86-64-v3")) sets.push_back({"x86-64-v3", v3::search_block, v3::select_block, v3::als_block, v3::als_exact_block});
#endif
    sets.push_back({"base", base::search_block, base::select_block, base::als_block, base::als_exact_block});
    return sets;
}

const std::vector<InstructionSet> supported = supported_sets();

// RECSYS_INSTRUCTION_SET lowers the choice, for tests and for comparing machines.
InstructionSet chosen_set() {
    const char *wanted = std::getenv("RECSYS_INSTRUCTION_SET");
    if (!wanted || !*wanted) return supported.front();
    for (const auto &set : supported)
        if (wanted == std::string(set.name)) return set;
    std::string names;
    for (const auto &set : supported) names += names.empty() ? set.name : std::string(", ") + set.name;
    throw std::runtime_error("RECSYS_INSTRUCTION_SET=" + std::string(wanted) + " is not supported here; choose from " + names);
}

InstructionSet chosen;

void require(bool holds, const char *message) {
    if (!holds) throw nb::value_error(message);
}

template <class Array>
auto pointer(const std::optional<Array> &array) -> decltype(array->data()) {
    return array ? array->data() : nullptr;
}

Restriction restriction(int64_t n_queries, int64_t n_items, const Maybe<int64_t, 1> &indptr, const Maybe<int32_t, 1> &rows,
                        const Maybe<uint8_t, 1> &allowed) {
    require(indptr.has_value() == rows.has_value(), "exclude_indptr and exclude_rows go together");
    if (indptr) {
        require(int64_t(indptr->shape(0)) == n_queries + 1, "exclude_indptr must have n_queries + 1 entries");
        const int64_t *p = indptr->data();
        require(p[0] == 0 && p[n_queries] == int64_t(rows->shape(0)), "exclude_indptr must run from 0 to len(exclude_rows)");
        for (int64_t q = 0; q < n_queries; ++q) {
            require(p[q] <= p[q + 1], "exclude_indptr must not fall");
            for (int64_t at = p[q] + 1; at < p[q + 1]; ++at)
                require(rows->data()[at - 1] <= rows->data()[at], "exclude_rows must ascend within a query");
        }
    }
    if (allowed) require(int64_t(allowed->shape(0)) == (n_items + 7) / 8, "allowed must hold one bit an item");
    return {pointer(indptr), pointer(rows), pointer(allowed)};
}

// Runs work(begin, end, thread) over blocks of rows; rows are independent, so any split gives the same result.
template <class Work>
void over_blocks(int64_t n_rows, int64_t block, int threads, Work work) {
    std::atomic<int64_t> next{0};
    auto loop = [&](int thread) {
        for (int64_t begin; (begin = next.fetch_add(block)) < n_rows;)
            work(begin, std::min(begin + block, n_rows), thread);
    };
    std::vector<std::thread> others;
    for (int thread = 1; thread < threads; ++thread) others.emplace_back(loop, thread);
    loop(0);
    for (auto &other : others) other.join();
}

int useful_threads(int threads, int64_t n_rows, int64_t block) {
    require(threads >= 1, "threads must be at least 1");
    return int(std::max<int64_t>(1, std::min<int64_t>(threads, (n_rows + block - 1) / block)));
}

void search_all(In<float, 2> queries, In<float, 2> item_vectors, Maybe<float, 1> item_bias, Maybe<float, 1> item_scale,
            Maybe<int64_t, 1> exclude_indptr, Maybe<int32_t, 1> exclude_rows, Maybe<uint8_t, 1> allowed,
            Out<int32_t, 2> rows, Out<float, 2> scores, int threads) {
    const int64_t n_queries = queries.shape(0), n_items = item_vectors.shape(0), width = queries.shape(1);
    require(int64_t(item_vectors.shape(1)) == width, "queries and item_vectors differ in width");
    require(!item_bias || int64_t(item_bias->shape(0)) == n_items, "item_bias must have one entry an item");
    require(!item_scale || int64_t(item_scale->shape(0)) == n_items, "item_scale must have one entry an item");
    require(rows.shape(1) >= 1, "k must be at least 1");
    require(int64_t(rows.shape(0)) == n_queries && int64_t(scores.shape(0)) == n_queries && rows.shape(1) == scores.shape(1),
            "rows and scores must have shape (n_queries, k)");
    const Search args{queries.data(), item_vectors.data(), pointer(item_bias), pointer(item_scale), n_queries, n_items, width,
                      int64_t(rows.shape(1)), restriction(n_queries, n_items, exclude_indptr, exclude_rows, allowed),
                      rows.data(), scores.data()};
    threads = useful_threads(threads, n_queries, query_block);
    std::vector<std::vector<float>> scratch(threads, std::vector<float>(scratch_floats(width)));
    nb::gil_scoped_release release;
    over_blocks(n_queries, query_block, threads,
                [&](int64_t begin, int64_t end, int thread) { chosen.search_block(args, begin, end, scratch[thread].data()); });
}

void select_all(In<float, 2> scores, Maybe<int64_t, 1> exclude_indptr, Maybe<int32_t, 1> exclude_rows, Maybe<uint8_t, 1> allowed,
            Out<int32_t, 2> rows, Out<float, 2> out_scores, int threads) {
    const int64_t n_queries = scores.shape(0), n_items = scores.shape(1);
    require(rows.shape(1) >= 1, "k must be at least 1");
    require(int64_t(rows.shape(0)) == n_queries && int64_t(out_scores.shape(0)) == n_queries &&
                rows.shape(1) == out_scores.shape(1),
            "rows and out_scores must have shape (n_queries, k)");
    const Select args{scores.data(), n_queries, n_items, int64_t(rows.shape(1)),
                      restriction(n_queries, n_items, exclude_indptr, exclude_rows, allowed), rows.data(), out_scores.data()};
    nb::gil_scoped_release release;
    over_blocks(n_queries, query_block, useful_threads(threads, n_queries, query_block),
                [&](int64_t begin, int64_t end, int) { chosen.select_block(args, begin, end); });
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
        for (int64_t u = 0; u < n_rows; ++u) require(indptr.data()[u] <= indptr.data()[u + 1], "indptr must not fall");
        for (int64_t at = 0; at < int64_t(order.shape(0)); ++at)
            require(0 <= order.data()[at] && order.data()[at] < n_rows, "order must hold rows");
        for (int64_t at = 0; at < nnz; ++at)
            require(0 <= indices.data()[at] && indices.data()[at] < n_columns, "indices must be rows of factors");
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

NB_MODULE(_kernels, m) {
    using namespace nb::literals;
    chosen = chosen_set();
    m.doc() = "Compiled kernels; each has a readable numpy twin in recsys.kernels.reference.";
    m.def("instruction_set", [] { return std::string(chosen.name); }, "Name of the instruction set in use.");
    m.def("instruction_sets", [] {
        std::vector<std::string> names;
        for (const auto &set : supported) names.emplace_back(set.name);
        return names;
    }, "Names of the instruction sets this machine supports, best first.");
    m.def("search", &search_all, "queries"_a.noconvert(), "item_vectors"_a.noconvert(), "item_bias"_a.noconvert().none(),
          "item_scale"_a.noconvert().none(), "exclude_indptr"_a.noconvert().none(), "exclude_rows"_a.noconvert().none(),
          "allowed"_a.noconvert().none(), "rows"_a.noconvert(), "scores"_a.noconvert(), "threads"_a,
          "Exact top-k of queries @ item_vectors.T * item_scale + item_bias, written to rows and scores.");
    m.def("select", &select_all, "scores"_a.noconvert(), "exclude_indptr"_a.noconvert().none(),
          "exclude_rows"_a.noconvert().none(), "allowed"_a.noconvert().none(), "rows"_a.noconvert(),
          "out_scores"_a.noconvert(), "threads"_a, "Exact top-k of given scores, written to rows and out_scores.");
    m.def("als_cg", &als_cg, "indptr"_a.noconvert(), "indices"_a.noconvert(), "weights"_a.noconvert().none(), "weight"_a,
          "shift"_a, "factors"_a.noconvert(), "dense"_a.noconvert(), "penalty"_a.noconvert(), "order"_a.noconvert(),
          "steps"_a, "relaxation"_a, "x"_a.noconvert(), "loss"_a.noconvert(), "threads"_a,
          "Conjugate gradient steps on rows of implicit ALS, written to x and loss.");
    m.def("als_exact", &als_exact, "indptr"_a.noconvert(), "indices"_a.noconvert(), "weights"_a.noconvert().none(),
          "weight"_a, "shift"_a, "factors"_a.noconvert(), "dense"_a.noconvert(), "penalty"_a.noconvert(),
          "order"_a.noconvert(), "x"_a.noconvert(), "loss"_a.noconvert(), "threads"_a,
          "Exact solution of rows of implicit ALS by Cholesky in double precision, written to x and loss.");
}
