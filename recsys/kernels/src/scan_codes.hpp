// Products of codes: a part of scan.cpp, included once per instruction set.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "simd.hpp"

namespace recsys {
namespace RECSYS_ISA {
namespace {

typedef int16_t words16 __attribute__((vector_size(32)));
typedef int16_t words32 __attribute__((vector_size(64)));
typedef int32_t ints8 __attribute__((vector_size(32)));
typedef int32_t ints16 __attribute__((vector_size(64)));

// Sixteen signed bytes as words. What the compiler makes of a conversion of vectors takes several times as long.
inline words16 widened16(const int8_t *from) {
#if defined(__AVX2__)
    return words16(_mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i *>(from))));
#elif defined(__SSE2__)
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i *>(from));
    const __m128i halves[2] = {_mm_srai_epi16(_mm_unpacklo_epi8(bytes, bytes), 8),
                               _mm_srai_epi16(_mm_unpackhi_epi8(bytes, bytes), 8)};
    words16 words;
    std::memcpy(&words, halves, sizeof words);
    return words;
#else
    words16 words;
    for (int i = 0; i < 16; ++i) words[i] = from[i];
    return words;
#endif
}

// a[2i] b[2i] + a[2i + 1] b[2i + 1] for each i.
inline ints8 pair_products(words16 a, words16 b) {
#if defined(__AVX2__)
    return ints8(_mm256_madd_epi16(__m256i(a), __m256i(b)));
#else
    ints8 sums;
#if defined(__SSE2__)
    __m128i x[2], y[2];
    std::memcpy(x, &a, sizeof a), std::memcpy(y, &b, sizeof b);
    for (int i = 0; i < 2; ++i) x[i] = _mm_madd_epi16(x[i], y[i]);
    std::memcpy(&sums, x, sizeof sums);
#else
    for (int i = 0; i < 8; ++i) sums[i] = a[2 * i] * b[2 * i] + a[2 * i + 1] * b[2 * i + 1];
#endif
    return sums;
#endif
}

// One bit a lane: not x < limit, so also where either is no number.
inline uint32_t not_below(vec16 x, float limit) {
    uint32_t bits = 0;
#if defined(__AVX512F__)
    bits = _mm512_cmp_ps_mask(__m512(x), _mm512_set1_ps(limit), _CMP_NLT_UQ);
#elif defined(__SSE2__)
    __m128 quarter[4];
    std::memcpy(quarter, &x, sizeof x);
    for (int i = 0; i < 4; ++i) bits |= uint32_t(_mm_movemask_ps(_mm_cmpnlt_ps(quarter[i], _mm_set1_ps(limit)))) << 4 * i;
#else
    for (int i = 0; i < 16; ++i) bits |= uint32_t(!(x[i] < limit)) << i;
#endif
    return bits;
}

// Products of some coordinates of a query with those of sixteen items side by side.
inline ints16 products_of(const int8_t *codes, const int16_t *query, int64_t count) {
#if defined(__AVX512BW__)
    ints16 sums = {};
#pragma GCC unroll 4
    for (int64_t j = 0; j < count; j += 2) {
        int32_t pair;
        std::memcpy(&pair, query + j, sizeof pair);
        const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(codes + j * 16));
        sums += ints16(_mm512_madd_epi16(_mm512_cvtepi8_epi16(bytes), _mm512_set1_epi32(pair)));
    }
    return sums;
#else
    ints8 low = {}, high = {};
#pragma GCC unroll 4
    for (int64_t j = 0; j < count; j += 2) {
        int32_t pair;
        std::memcpy(&pair, query + j, sizeof pair);
        const words16 of_query = words16(ints8{} + pair);
        low += pair_products(widened16(codes + j * 16), of_query);
        high += pair_products(widened16(codes + j * 16 + 16), of_query);
    }
    return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#endif
}

}  // namespace
}  // namespace RECSYS_ISA
}  // namespace recsys
