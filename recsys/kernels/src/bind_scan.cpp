// Bindings of the scan over quantised items. No numerics here.
#include "bindings.hpp"

namespace recsys {
namespace {

// One bit a row of the items a query may get; empty where it may get any.
std::vector<uint8_t> free_rows(const Maybe<int32_t, 1> &exclude_rows, const Maybe<uint8_t, 1> &allowed, int64_t n_items) {
    if (!exclude_rows && !allowed) return {};
    std::vector<uint8_t> bits(size_t(n_items + 7) / 8, 0xff);
    if (allowed) std::copy_n(allowed->data(), bits.size(), bits.begin());
    for (int64_t at = 0; exclude_rows && at < int64_t(exclude_rows->shape(0)); ++at) {
        const int64_t row = exclude_rows->data()[at];
        if (0 <= row && row < n_items) bits[row >> 3] &= uint8_t(~(1u << (row & 7)));
    }
    return bits;
}

void scan(In<float, 1> query, In<float, 2> item_vectors, In<float, 2> rotation, In<int32_t, 1> row_of,
          Maybe<float, 1> biases, Maybe<float, 1> factor, In<uint8_t, 2> heads, In<uint8_t, 2> tails,
          In<float, 1> scales, In<float, 1> tail_lengths, In<float, 2> bounds, Maybe<int32_t, 1> exclude_rows,
          Maybe<uint8_t, 1> allowed, Out<int32_t, 1> rows, Out<float, 1> scores) {
    const int64_t n_items = item_vectors.shape(0), width = item_vectors.shape(1), blocks = (n_items + scan_lanes - 1) / scan_lanes;
    const int64_t head = int64_t(heads.shape(1)) / scan_lanes, tail = int64_t(tails.shape(1)) / scan_lanes;
    require(width >= 1 && entries(query, width), "query must have one entry a column of item_vectors");
    require(shaped(rotation, width, width), "rotation must be as wide as item_vectors, both ways");
    require(entries(row_of, n_items), "row_of must have one row an item");  // codes are checked when they are loaded
    require(!biases || entries(*biases, n_items), "biases must have one entry an item");
    require(!factor || entries(*factor, n_items), "factor must have one entry an item");
    require(head >= 2 && head % 2 == 0 && shaped(heads, blocks, head * scan_lanes),
            "heads must have an even number of coordinates of sixteen items in each row");
    require(tail % 2 == 0 && head + tail >= width && shaped(tails, blocks, tail * scan_lanes),
            "tails must have the other coordinates in the same way");
    require(entries(scales, n_items) && entries(tail_lengths, n_items), "scales and tail_lengths must have one entry an item");
    require(shaped(bounds, (n_items + scan_group - 1) / scan_group, scan_bounds), "bounds must have three entries a group");
    require(rows.shape(0) >= 1 && rows.shape(0) == scores.shape(0), "rows and scores must have k entries, at least 1");
    require(!allowed || entries(*allowed, (n_items + 7) / 8), "allowed must hold one bit an item");
    const std::vector<uint8_t> bits = free_rows(exclude_rows, allowed, n_items);
    const int64_t k = int64_t(rows.shape(0));
    std::vector<int32_t> least_places(k);
    std::vector<float> least_scores(k);
    const Scan args{query.data(), item_vectors.data(), rotation.data(), row_of.data(), pointer(biases), pointer(factor),
                    reinterpret_cast<const int8_t *>(heads.data()), reinterpret_cast<const int8_t *>(tails.data()),
                    scales.data(), tail_lengths.data(), bounds.data(), n_items, width, head, tail, k,
                    bits.empty() ? nullptr : bits.data(), rows.data(), scores.data(),
                    least_places.data(), least_scores.data()};
    std::vector<double> reals(scan_doubles(width));
    std::vector<int16_t> codes(head + tail);
    nb::gil_scoped_release release;
    chosen.scan_all(args, reals.data(), codes.data());
}

}  // namespace

void bind_scan(nb::module_ &m) {
    using namespace nb::literals;
    m.def("scan", &scan, "query"_a.noconvert(), "item_vectors"_a.noconvert(), "rotation"_a.noconvert(),
          "row_of"_a.noconvert(), "biases"_a.noconvert().none(), "factor"_a.noconvert().none(), "heads"_a.noconvert(),
          "tails"_a.noconvert(), "scales"_a.noconvert(), "tail_lengths"_a.noconvert(), "bounds"_a.noconvert(),
          "exclude_rows"_a.noconvert().none(), "allowed"_a.noconvert().none(), "rows"_a.noconvert(), "scores"_a.noconvert(),
          "Exact top-k of one query as search() gives it, by way of quantised items, written to rows and scores.");
}

}  // namespace recsys
