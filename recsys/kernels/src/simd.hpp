// Vectors of eight floats for the translation units that are compiled once per instruction set.
//
// Everything is in an anonymous namespace, and nothing comes from the standard library: the linker keeps one copy of
// an inline function for all objects, and it could be the one with instructions this machine lacks.
#pragma once

#include <cstdint>
#include <cstring>

namespace {

constexpr int64_t lanes = 8;
typedef float vec __attribute__((vector_size(lanes * sizeof(float))));

template <class Vec = vec>
inline Vec load(const float *from) {
    Vec v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

inline vec load_tail(const float *from, int64_t count) {
    vec v = {};
    std::memcpy(&v, from, static_cast<size_t>(count) * sizeof(float));
    return v;
}

template <class Vec>
inline void store(float *to, Vec v) { std::memcpy(to, &v, sizeof v); }

typedef float vec16 __attribute__((vector_size(2 * sizeof(vec))));

// The sum of both halves.
inline vec folded(vec16 v) {
    return __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
           __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
}
inline vec folded(vec v) { return v; }

inline vec pair_sums(vec a, vec b) {
    return __builtin_shufflevector(a, b, 0, 8, 2, 10, 4, 12, 6, 14) +
           __builtin_shufflevector(a, b, 1, 9, 3, 11, 5, 13, 7, 15);
}

inline vec quad_sums(vec ab, vec cd) {
    return __builtin_shufflevector(ab, cd, 0, 1, 8, 9, 4, 5, 12, 13) +
           __builtin_shufflevector(ab, cd, 2, 3, 10, 11, 6, 7, 14, 15);
}

// Eight vectors to their eight sums, each added up as ((0+1) + (2+3)) + ((4+5) + (6+7)).
inline vec reduce(const vec (&a)[8]) {
    vec low = quad_sums(pair_sums(a[0], a[1]), pair_sums(a[2], a[3]));
    vec high = quad_sums(pair_sums(a[4], a[5]), pair_sums(a[6], a[7]));
    return __builtin_shufflevector(low, high, 0, 1, 2, 3, 8, 9, 10, 11) +
           __builtin_shufflevector(low, high, 4, 5, 6, 7, 12, 13, 14, 15);
}

inline float sum(vec v) {
    float quarters[4];
    for (int i = 0; i < 4; ++i) quarters[i] = v[2 * i] + v[2 * i + 1];
    return (quarters[0] + quarters[1]) + (quarters[2] + quarters[3]);
}

// The compiler would rather load an operand twice than hold it; where loads are the bottleneck that costs.
#if defined(__AVX2__)
#define RECSYS_HOLD(v) __asm__("" : "+x"(v))
#else
#define RECSYS_HOLD(v) (void)(v)
#endif

}  // namespace
