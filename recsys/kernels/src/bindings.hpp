// What the bindings of every solver share: array types, checks, the chosen instruction set, blocks spread over threads.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "als.hpp"
#include "bpr.hpp"
#include "fm_rank.hpp"
#include "fm_sweep.hpp"
#include "fm_sgd.hpp"
#include "scan.hpp"
#include "sgd_mf.hpp"
#include "topk.hpp"

namespace recsys {

namespace nb = nanobind;

template <class T, int N>
using In = nb::ndarray<const T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;
template <class T, int N>
using Out = nb::ndarray<T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;
template <class T, int N>
using Maybe = std::optional<In<T, N>>;
template <class T, int N>
using MaybeOut = std::optional<Out<T, N>>;

// The solvers as compiled for one instruction set.
struct InstructionSet {
    const char *name;
    decltype(&base::search_block) search_block;
    decltype(&base::select_block) select_block;
    decltype(&base::scan_all) scan_all;
    decltype(&base::als_block) als_block;
    decltype(&base::als_exact_block) als_exact_block;
    decltype(&base::sgd_mf_plain) sgd_mf_plain;
    decltype(&base::sgd_mf_momentum) sgd_mf_momentum;
    decltype(&base::sgd_mf_adagrad) sgd_mf_adagrad;
    decltype(&base::bpr_range) bpr_range;
    decltype(&base::fm_rank_range) fm_rank_range;
    decltype(&base::fm_rank_items) fm_rank_items;
    decltype(&base::fm_stream_range) fm_stream_range;
    decltype(&base::fm_stream_add) fm_stream_add;
    decltype(&base::fm_solve_range) fm_solve_range;
    decltype(&base::fm_sgd_range) fm_sgd_range;
    decltype(&base::fm_fields_range) fm_fields_range;
};

extern InstructionSet chosen;  // set once, at import

void bind_topk(nb::module_ &m);
void bind_scan(nb::module_ &m);
void bind_als(nb::module_ &m);
void bind_sgd_mf(nb::module_ &m);
void bind_bpr(nb::module_ &m);
void bind_fm_rank(nb::module_ &m);
void bind_fm_sweep(nb::module_ &m);
void bind_fm_sgd(nb::module_ &m);

inline void require(bool holds, const char *message) {
    if (!holds) throw nb::value_error(message);
}

template <class Array>
auto pointer(const std::optional<Array> &array) -> decltype(array->data()) {
    return array ? array->data() : nullptr;
}

template <class Array>
bool entries(const Array &array, int64_t count) {
    return int64_t(array.shape(0)) == count;
}

template <class Array>
bool shaped(const Array &array, int64_t rows, int64_t columns) {
    return int64_t(array.shape(0)) == rows && int64_t(array.shape(1)) == columns;
}

// So that the number of a block times the size of one is a number.
inline void require_block_size(int64_t size) {
    require(1 <= size && size <= INT32_MAX, "block_size must be positive, and below 2^31");
}

inline bool within(const int32_t *rows, int64_t begin, int64_t end, int64_t count) {
    bool all = true;
    for (int64_t at = begin; at < end; ++at) all &= uint32_t(rows[at]) < uint64_t(count);
    return all;
}

// That rows indptr[r] up to indptr[r + 1] of the entries are all of them.
template <class Entries>
void require_csr(const In<int64_t, 1> &indptr, const Entries &of_rows, const char *message) {
    const int64_t n = int64_t(indptr.shape(0)) - 1, *cuts = indptr.data();
    require(n >= 0 && cuts[0] == 0 && cuts[n] == int64_t(of_rows.shape(0)), message);
    bool rising = true;
    for (int64_t r = 0; r < n; ++r) rising &= cuts[r] <= cuts[r + 1];
    require(rising, message);
}

inline Ranking ranking(const std::string &loss) {
    require(loss == "bpr" || loss == "warp" || loss == "softmax", "loss is bpr, warp or softmax");
    return loss == "bpr" ? Ranking::bpr : loss == "warp" ? Ranking::warp : Ranking::softmax;
}

// Runs work(begin, end, thread) over blocks of rows; rows are independent, so any split gives the same result. Where the
// system gives no further thread, those there are do all the work.
template <class Work>
void over_blocks(int64_t n_rows, int64_t block, int threads, Work work) {
    std::atomic<int64_t> next{0};
    auto loop = [&](int thread) {
        for (int64_t begin; (begin = next.fetch_add(block)) < n_rows;)
            work(begin, std::min(begin + block, n_rows), thread);
    };
    std::vector<std::thread> others;
    try {
        for (int thread = 1; thread < threads; ++thread) others.emplace_back(loop, thread);
    } catch (const std::system_error &) {
    }
    loop(0);
    for (auto &other : others) other.join();
}

constexpr int most_threads = 1024;  // each has buffers of its own

inline int useful_threads(int threads, int64_t n_rows, int64_t block) {
    require(threads >= 1, "threads must be at least 1");
    return int(std::max<int64_t>(1, std::min<int64_t>(std::min(threads, most_threads), (n_rows + block - 1) / block)));
}

}  // namespace recsys
