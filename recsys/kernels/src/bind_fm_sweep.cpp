// Bindings of block coordinate descent for factorization machines. No numerics here.
#include <memory>

#include "bindings.hpp"

namespace recsys {
namespace {

// The sign of a row, or of what is left to the last one, says whether it is outside: no branch, any number at once.
bool within(const int32_t *rows, int64_t n, int64_t count) {
    const uint32_t last = uint32_t(std::min<int64_t>(count, INT32_MAX) - 1);
    int32_t outside = 0;
    for (int64_t at = 0; at < n; ++at) outside |= rows[at] | int32_t(last - uint32_t(rows[at]));
    return outside >= 0;
}

// Stretches are counted side by side, each in a buffer of its own, and added in their order.
void over_stretches(const FmStream &args, int threads) {
    const int64_t each = args.rows ? fm_stretch(args.n_rows) : 65536, stretches = (args.n + each - 1) / each;
    threads = useful_threads(threads, stretches, 1);
    const int64_t size = args.rows ? args.n_rows * (args.q ? fm_buffer : 2) : 0;
    std::vector<std::unique_ptr<float[]>> buffers(threads);
    for (auto &buffer : buffers) buffer.reset(new float[size]);
    for (int64_t first = 0; first < stretches; first += threads) {
        const int64_t count = std::min<int64_t>(threads, stretches - first);
        over_blocks(count, 1, int(count), [&](int64_t at, int64_t, int) {
            const int64_t begin = (first + at) * each;
            chosen.fm_stream_range(args, begin, std::min(begin + each, args.n), buffers[at].get());
        });
        if (args.rows)
            over_blocks(args.n_rows, 4096, useful_threads(threads, args.n_rows, 4096), [&](int64_t begin, int64_t end, int) {
                for (int64_t at = 0; at < count; ++at) chosen.fm_stream_add(args, begin, end, buffers[at].get());
            });
    }
}

void fm_stream(MaybeOut<float, 2> q, Out<float, 1> e, Maybe<float, 1> sample_weight, Maybe<int32_t, 1> moved,
               Maybe<float, 2> moves, Maybe<int32_t, 1> rows, Maybe<float, 2> sums, MaybeOut<double, 2> statistics,
               int threads) {
    const int64_t n = e.shape(0), n_rows = statistics ? statistics->shape(0) : 0;
    require(!q || shaped(*q, n, fm_group), "q must have a group of factors for each residual");
    require(!sample_weight || int64_t(sample_weight->shape(0)) == n, "sample_weight must have one entry a sample");
    require(moved.has_value() == moves.has_value(), "moved and moves come together");
    require(rows.has_value() == statistics.has_value(), "rows and statistics come together");
    require(sums.has_value() == (q.has_value() && rows.has_value()), "sums come with q and rows");
    require(moved || rows, "either moved or rows is needed");
    if (moved) {
        require(int64_t(moves->shape(1)) == (q ? fm_move : 1), "moves must be 8 wide with q, 1 without");
        require(int64_t(moved->shape(0)) == n && within(moved->data(), n, moves->shape(0)), "moved must be rows of moves");
    }
    if (rows) {
        require(int64_t(statistics->shape(1)) == (q ? fm_statistics : 2), "statistics must be 20 wide with q, 2 without");
        require(int64_t(rows->shape(0)) == n && within(rows->data(), n, n_rows), "rows must be rows of statistics");
        require(!sums || shaped(*sums, n_rows, fm_group), "sums must have a group of factors for each row");
    }
    const FmStream args{pointer(q), e.data(), pointer(sample_weight), pointer(moved), pointer(moves),
                        pointer(rows), pointer(sums), pointer(statistics), n, n_rows};
    require(threads >= 1, "threads must be at least 1");
    nb::gil_scoped_release release;
    over_stretches(args, threads);
}

void fm_solve(In<int64_t, 1> indptr, In<int32_t, 1> rows, Maybe<float, 1> values, In<int32_t, 1> field_of, int64_t begin,
              int64_t end, double noise_precision, In<float, 2> precision, In<float, 2> mean, Maybe<float, 2> noise,
              Out<float, 2> factors, int64_t first, MaybeOut<float, 2> sums, Out<double, 2> statistics,
              Out<float, 2> moves) {
    const int64_t n_features = factors.shape(0), width = factors.shape(1), n_rows = statistics.shape(0);
    const int64_t group = sums ? fm_group : 1, n_fields = precision.shape(0);
    require(int64_t(indptr.shape(0)) == n_features + 1 && int64_t(field_of.shape(0)) == n_features,
            "indptr must have n_features + 1 entries, field_of n_features");
    require(0 <= begin && begin <= end && end <= n_features, "begin and end must be a range of features");
    require(0 <= first && first <= width - group, "the group of factors must lie within their width");
    const int64_t *cuts = indptr.data();
    require(cuts[begin] >= 0 && cuts[end] <= int64_t(rows.shape(0)), "indptr must lie within rows");
    for (int64_t j = begin; j < end; ++j) require(cuts[j] <= cuts[j + 1], "indptr must not fall");
    require(within(rows.data() + cuts[begin], cuts[end] - cuts[begin], n_rows), "rows must be rows of statistics");
    require(within(field_of.data() + begin, end - begin, n_fields), "field_of must be rows of precision");
    require(!values || values->shape(0) == rows.shape(0), "values must have one entry a row");
    require(shaped(precision, n_fields, group) && shaped(mean, n_fields, group), "precision and mean must be alike");
    require(!noise || shaped(*noise, n_features, group), "noise must have one entry a factor");
    require(!sums || shaped(*sums, n_rows, fm_group), "sums must have a group of factors for each row");
    require(shaped(statistics, n_rows, sums ? fm_statistics : 2), "statistics must be 20 wide with sums, 2 without");
    require(shaped(moves, n_rows, sums ? fm_move : 1), "moves must be 8 wide with sums, 1 without");
    require(sums || width == 1, "the linear part is one wide");
    const FmColumns args{cuts, rows.data(), pointer(values), field_of.data(), precision.data(), mean.data(), pointer(noise),
                         factors.data(), pointer(sums), statistics.data(), moves.data(), width, first, noise_precision};
    nb::gil_scoped_release release;
    chosen.fm_solve_range(args, begin, end);
}

}  // namespace

void bind_fm_sweep(nb::module_ &m) {
    using namespace nb::literals;
    m.def("fm_stream", &fm_stream, "q"_a.noconvert().none(), "e"_a.noconvert(), "sample_weight"_a.noconvert().none(),
          "moved"_a.noconvert().none(), "moves"_a.noconvert().none(), "rows"_a.noconvert().none(),
          "sums"_a.noconvert().none(), "statistics"_a.noconvert().none(), "threads"_a,
          "Let samples follow a block that has moved, and count them in the rows of the block that moves next.");
    m.def("fm_solve", &fm_solve, "indptr"_a.noconvert(), "rows"_a.noconvert(), "values"_a.noconvert().none(),
          "field_of"_a.noconvert(), "begin"_a, "end"_a, "noise_precision"_a, "precision"_a.noconvert(),
          "mean"_a.noconvert(), "noise"_a.noconvert().none(), "factors"_a.noconvert(), "first"_a,
          "sums"_a.noconvert().none(), "statistics"_a.noconvert(), "moves"_a.noconvert(),
          "Move features of a block, one after the other, to the mode or to a draw of their conditional distribution.");
}

}  // namespace recsys
