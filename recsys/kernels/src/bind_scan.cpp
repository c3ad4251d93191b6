// Bindings of the scan over quantised items. No numerics here.
#include "bindings.hpp"

namespace recsys {
namespace {

void scan(In<float, 1> query, In<float, 2> item_vectors, Maybe<float, 1> item_bias, Maybe<float, 1> item_scale,
          In<float, 2> rotation, In<uint8_t, 2> heads, In<uint8_t, 2> tails, In<float, 1> scales, In<float, 1> tail_lengths,
          In<float, 2> bounds, Maybe<int32_t, 1> exclude_rows, Maybe<uint8_t, 1> allowed, Out<int32_t, 1> rows,
          Out<float, 1> scores) {
    const int64_t n_items = item_vectors.shape(0), width = item_vectors.shape(1), tail = tails.shape(1);
    const int64_t head = int64_t(heads.shape(1)) / scan_lanes;
    require(width >= 1 && entries(query, width), "query must have one entry a column of item_vectors");
    require(!item_bias || entries(*item_bias, n_items), "item_bias must have one entry an item");
    require(!item_scale || entries(*item_scale, n_items), "item_scale must have one entry an item");
    require(shaped(rotation, width, width), "rotation must be as wide as item_vectors, both ways");
    require(head >= 2 && head % 2 == 0 && shaped(heads, (n_items + scan_lanes - 1) / scan_lanes, head * scan_lanes),
            "heads must have an even number of coordinates of sixteen items in each row");
    require(tail % 16 == 0 && head + tail >= width && shaped(tails, n_items, tail),
            "tails must have a multiple of sixteen coordinates, enough with those of the heads");
    require(entries(scales, n_items) && entries(tail_lengths, n_items), "scales and tail_lengths must have one entry an item");
    require(shaped(bounds, (n_items + scan_group - 1) / scan_group, scan_bounds), "bounds must have three entries a group");
    require(rows.shape(0) >= 1 && rows.shape(0) == scores.shape(0), "rows and scores must have k entries, at least 1");
    require(!allowed || entries(*allowed, (n_items + 7) / 8), "allowed must hold one bit an item");
    int64_t cuts[2] = {0, 0};
    if (exclude_rows) {
        cuts[1] = exclude_rows->shape(0);
        for (int64_t at = 1; at < cuts[1]; ++at)
            require(exclude_rows->data()[at - 1] <= exclude_rows->data()[at], "exclude_rows must ascend");
    }
    const Scan args{query.data(), item_vectors.data(), pointer(item_bias), pointer(item_scale), rotation.data(),
                    reinterpret_cast<const int8_t *>(heads.data()), reinterpret_cast<const int8_t *>(tails.data()),
                    scales.data(), tail_lengths.data(), bounds.data(), n_items, width, head, tail, int64_t(rows.shape(0)),
                    {exclude_rows ? cuts : nullptr, pointer(exclude_rows), pointer(allowed)}, rows.data(), scores.data()};
    std::vector<double> reals(scan_doubles(width));
    std::vector<int16_t> codes(head + tail);
    nb::gil_scoped_release release;
    chosen.scan_all(args, reals.data(), codes.data());
}

}  // namespace

void bind_scan(nb::module_ &m) {
    using namespace nb::literals;
    m.def("scan", &scan, "query"_a.noconvert(), "item_vectors"_a.noconvert(), "item_bias"_a.noconvert().none(),
          "item_scale"_a.noconvert().none(), "rotation"_a.noconvert(), "heads"_a.noconvert(), "tails"_a.noconvert(),
          "scales"_a.noconvert(), "tail_lengths"_a.noconvert(), "bounds"_a.noconvert(), "exclude_rows"_a.noconvert().none(),
          "allowed"_a.noconvert().none(), "rows"_a.noconvert(), "scores"_a.noconvert(),
          "Exact top-k of one query as search() gives it, by way of quantised items, written to rows and scores.");
}

}  // namespace recsys
