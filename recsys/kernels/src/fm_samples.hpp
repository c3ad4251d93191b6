// The samples of a factorization machine, one after the other, their parameters fetched ahead; for the translation
// units that are compiled once per instruction set.
#pragma once

#include "fm_sgd.hpp"
#include "simd.hpp"

namespace {

using recsys::fm_ahead;
using recsys::FmSgd;

#if defined(__AVX512F__)
constexpr int64_t widest = 16;
#else
constexpr int64_t widest = 8;
#endif
typedef float wide __attribute__((vector_size(widest * sizeof(float))));
typedef float quad __attribute__((vector_size(4 * sizeof(float))));

template <class V>
inline V read(const float *from) {
    V v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

template <class V>
inline void write(float *to, V v) {
    std::memcpy(to, &v, sizeof v);
}

inline quad roots(quad v) {
    return quad{__builtin_sqrtf(v[0]), __builtin_sqrtf(v[1]), __builtin_sqrtf(v[2]), __builtin_sqrtf(v[3])};
}

inline float added(vec v) {
    const quad quarters = __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
    const quad halves = quarters + __builtin_shufflevector(quarters, quarters, 2, 3, 2, 3);
    return halves[0] + halves[1];
}

#if defined(__AVX512F__)
inline float added(wide v) {
    return added(__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                 __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15));
}
#endif

// A row of parameters as `count` vectors V, or as many as it takes where count is 0.
template <class V, int64_t count>
struct Shape {
    using Vector = V;
    static constexpr int64_t step = sizeof(V) / sizeof(float);
    static constexpr int64_t vectors = count;
    static int64_t width(const FmSgd &fm) { return count ? count * step : fm.width; }
};

// The features of one sample, those of all its parts.
struct Sample {
    const int32_t *features;
    const float *values;  // null: all 1
    int64_t count;        // -1: one of them is out of range

    template <bool ones>
    float value(int64_t e) const {
        return ones || !values ? 1 : values[e];
    }
};

// Inlined at once: GCC takes a function that does nothing but prefetch for one without effect, and drops its calls.
#define RECSYS_FETCH __attribute__((always_inline)) inline

template <class S>
RECSYS_FETCH void fetch_row(const FmSgd &fm, const float *table, int64_t j) {
    for (int64_t k = 0; k < S::width(fm); k += 16) __builtin_prefetch(table + j * S::width(fm) + k, 1, 3);
}

// A single part is read where it lies, several are copied side by side.
inline Sample gathered(const FmSgd &fm, int64_t place, float *values, int32_t *features) {
    const int32_t *row = fm.rows + place * fm.parts;
    if (fm.parts == 1) {
        const int64_t begin = fm.indptr[*row];
        return {fm.features + begin, fm.values ? fm.values + begin : nullptr, fm.indptr[*row + 1] - begin};
    }
    int64_t count = 0;
    for (int64_t part = 0; part < fm.parts; ++part)
        for (int64_t e = fm.indptr[row[part]]; e < fm.indptr[row[part] + 1]; ++e, ++count) {
            features[count] = fm.features[e];
            if (fm.values) values[count] = fm.values[e];
        }
    return {features, fm.values ? values : nullptr, count};
}

template <class Optimizer, class S>
inline Sample fetched(const FmSgd &fm, int64_t place, float *values, int32_t *features) {
    Sample sample = gathered(fm, place, values, features);
    uint32_t last = 0;
    for (int64_t e = 0; e < sample.count; ++e) {
        const uint32_t j = uint32_t(sample.features[e]);
        last = j > last ? j : last;
        fetch_row<S>(fm, fm.vectors, j);
        Optimizer::template fetch<S>(fm, j);
    }
    if (sample.count && int64_t(last) >= fm.n_features) sample.count = -1;
    return sample;
}

// Sum of the losses. Logarithms of factors of weight 1 are taken of their product, hundreds at a time.
struct Total {
    double sum = 0, product = 1;

    void add_log(float weight, double factor) {  // a factor is at most 1e14
        if (weight != 1)
            sum += weight * __builtin_log(factor);
        else if (!((product *= factor) < 1e290))
            flush();
    }
    void flush() {
        sum += __builtin_log(product);
        product = 1;
    }
};

// What is known of w0 while one thread works on one block.
struct Bias {
    float value, state;
};

// Machine::step takes one sample; it reads and moves the parameters in `fm`, and the bias.
template <class Machine, class Optimizer, class S, bool ones>
bool over_samples(const FmSgd &given, int64_t begin, int64_t end, float *reals, int32_t *integers, double &loss) {
    const FmSgd fm = given;  // a copy: the compiler would read the original again after every store
    Total total;
    for (int64_t at = begin; at < end; ++at) {
        const int64_t first = fm.blocks[at] * fm.block_size, behind = first + fm.block_size;
        const int64_t last = behind < fm.n ? behind : fm.n;
        const Bias before = {*fm.bias, fm.bias_state ? *fm.bias_state : 0};
        Bias bias = before;
        Sample ring[fm_ahead];
        for (int64_t place = first; place < last + fm_ahead; ++place) {
            const int64_t slot = place % fm_ahead, now = place - fm_ahead;
            if (now >= first) {
                if (ring[slot].count < 0) return false;
                const int64_t number = fm.step + at * fm.block_size + now - first + 1;
                Optimizer::template arrive<S>(fm, ring[slot], number);
                Machine::template step<Optimizer, S, ones>(fm, ring[slot], now, bias, reals + fm_ahead * fm.longest,
                                                           integers + fm_ahead * fm.longest, total);
            }
            if (place < last)
                ring[slot] = fetched<Optimizer, S>(fm, place, reals + slot * fm.longest, integers + slot * fm.longest);
        }
        *fm.bias += bias.value - before.value;  // once a block: threads would wait for each other at every step
        if (fm.bias_state) *fm.bias_state += bias.state - before.state;
    }
    total.flush();
    loss += total.sum;
    return true;
}

}  // namespace
