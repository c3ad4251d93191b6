// Bindings of the top-k search. No numerics here.
#include "bindings.hpp"

namespace recsys {
namespace {

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

void search_all(In<float, 2> queries, In<float, 2> item_vectors, Maybe<float, 1> item_bias, Maybe<float, 1> item_scale,
            Maybe<int32_t, 1> row_of, Maybe<float, 2> reach, Maybe<int64_t, 1> exclude_indptr, Maybe<int32_t, 1> exclude_rows, Maybe<uint8_t, 1> allowed,
            Out<int32_t, 2> rows, Out<float, 2> scores, int threads) {
    const int64_t n_queries = queries.shape(0), n_items = item_vectors.shape(0), width = queries.shape(1);
    require(int64_t(item_vectors.shape(1)) == width, "queries and item_vectors differ in width");
    require(!item_bias || int64_t(item_bias->shape(0)) == n_items, "item_bias must have one entry an item");
    require(!item_scale || int64_t(item_scale->shape(0)) == n_items, "item_scale must have one entry an item");
    require(!row_of || (entries(*row_of, n_items) && within(row_of->data(), 0, n_items, n_items)),
            "row_of must have one row an item");
    require(!reach || (!item_scale && shaped(*reach, (n_items + item_block - 1) / item_block, 2)),
            "reach must have two entries a block of 256 items, and goes without item_scale");
    require(rows.shape(1) >= 1, "k must be at least 1");
    require(int64_t(rows.shape(0)) == n_queries && int64_t(scores.shape(0)) == n_queries && rows.shape(1) == scores.shape(1),
            "rows and scores must have shape (n_queries, k)");
    const Search args{queries.data(), item_vectors.data(), pointer(item_bias), pointer(item_scale), pointer(row_of), pointer(reach), n_queries, n_items, width,
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

}  // namespace

void bind_topk(nb::module_ &m) {
    using namespace nb::literals;
    m.def("search", &search_all, "queries"_a.noconvert(), "item_vectors"_a.noconvert(), "item_bias"_a.noconvert().none(),
          "item_scale"_a.noconvert().none(), "row_of"_a.noconvert().none(), "reach"_a.noconvert().none(), "exclude_indptr"_a.noconvert().none(), "exclude_rows"_a.noconvert().none(),
          "allowed"_a.noconvert().none(), "rows"_a.noconvert(), "scores"_a.noconvert(), "threads"_a,
          "Exact top-k of queries @ item_vectors.T * item_scale + item_bias, written to rows and scores.");
    m.def("select", &select_all, "scores"_a.noconvert(), "exclude_indptr"_a.noconvert().none(),
          "exclude_rows"_a.noconvert().none(), "allowed"_a.noconvert().none(), "rows"_a.noconvert(),
          "out_scores"_a.noconvert(), "threads"_a, "Exact top-k of given scores, written to rows and out_scores.");
}

}  // namespace recsys
