// Products of codes: a part of scan.cpp, included once per instruction set.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "scan.hpp"
#include "simd.hpp"

namespace recsys {
namespace RECSYS_ISA {
namespace {

// What compilers make of vectors wider than the machine's takes several times as long, and with those of 64 bytes the
// scan is slower than with those of 32: it waits for memory, not for products.
#if defined(__AVX2__)
constexpr int wide = 8;
#else
constexpr int wide = 4;
#endif
constexpr int parts = scan_lanes / wide;
constexpr int64_t bytes_ahead = 2048;  // nearer, they come late

typedef float floats __attribute__((vector_size(4 * wide)));
typedef int32_t ints __attribute__((vector_size(4 * wide)));
typedef int16_t words __attribute__((vector_size(4 * wide)));

// Signed bytes as words.
inline words widened(const int8_t *from) {
#if defined(__AVX2__)
    return words(_mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i *>(from))));
#elif defined(__SSE2__)
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i *>(from));
    return words(_mm_srai_epi16(_mm_unpacklo_epi8(bytes, bytes), 8));
#else
    words w;
    for (int i = 0; i < 2 * wide; ++i) w[i] = from[i];
    return w;
#endif
}

// a[2i] b[2i] + a[2i + 1] b[2i + 1] for each i.
inline ints pair_products(words a, words b) {
#if defined(__AVX2__)
    return ints(_mm256_madd_epi16(__m256i(a), __m256i(b)));
#elif defined(__SSE2__)
    return ints(_mm_madd_epi16(__m128i(a), __m128i(b)));
#else
    ints sums;
    for (int i = 0; i < wide; ++i) sums[i] = a[2 * i] * b[2 * i] + a[2 * i + 1] * b[2 * i + 1];
    return sums;
#endif
}

// One bit a lane: not x < limit, so also where either is no number.
inline uint32_t not_below(floats x, float limit) {
#if defined(__AVX2__)
    return uint32_t(_mm256_movemask_ps(_mm256_cmp_ps(__m256(x), _mm256_set1_ps(limit), _CMP_NLT_UQ)));
#elif defined(__SSE2__)
    return uint32_t(_mm_movemask_ps(_mm_cmpnlt_ps(__m128(x), _mm_set1_ps(limit))));
#else
    uint32_t bits = 0;
    for (int i = 0; i < wide; ++i) bits |= uint32_t(!(x[i] < limit)) << i;
    return bits;
#endif
}

// Adds the products of some coordinates of a query with those of sixteen items side by side.
inline void add_products(const int8_t *codes, const int16_t *query, int64_t count, ints (&sums)[parts]) {
#pragma GCC unroll 4
    for (int64_t j = 0; j < count; j += 2) {
        int32_t pair;
        std::memcpy(&pair, query + j, sizeof pair);
        __builtin_prefetch(codes + j * scan_lanes + bytes_ahead);
        const words of_query = words(ints{} + pair);
#pragma GCC unroll 4
        for (int p = 0; p < parts; ++p)
            sums[p] += pair_products(widened(codes + j * scan_lanes + p * 2 * wide), of_query);
    }
}

// Of the last items of all there may be less than sixteen.
inline floats load_lanes(const float *from, int64_t count) {
    if (count >= wide) return load<floats>(from);
    floats v = {};
    if (count > 0) std::memcpy(&v, from, size_t(count) * sizeof(float));
    return v;
}

}  // namespace
}  // namespace RECSYS_ISA
}  // namespace recsys
