// Levels of x86-64 as the System V ABI defines them, asked of the processor itself: the runtime that zig links for the
// builtins of GCC and Clang answers no to everything.
#pragma once

#ifdef RECSYS_X86
#include <cpuid.h>

#include <cstdint>

namespace recsys {

struct Registers {
    std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

inline Registers cpuid(std::uint32_t leaf) {
    Registers r;
    __get_cpuid_count(leaf, 0, &r.eax, &r.ebx, &r.ecx, &r.edx);  // leaves zeros where there is no such leaf
    return r;
}

constexpr std::uint32_t bits() { return 0; }
template <class... Rest>
constexpr std::uint32_t bits(int first, Rest... rest) {
    return 1u << first | bits(rest...);
}

constexpr bool has(std::uint32_t found, std::uint32_t wanted) { return (found & wanted) == wanted; }

// State the operating system keeps for a thread; only to be asked where it uses XSAVE.
inline std::uint32_t kept_state() {
    std::uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

inline bool has_x86_64_v3() {
    const Registers basic = cpuid(1), extended = cpuid(7), amd = cpuid(0x80000001);
    // SSE3, SSSE3, FMA, CMPXCHG16B, SSE4.1, SSE4.2, MOVBE, POPCNT, XSAVE in use, AVX, F16C
    return has(basic.ecx, bits(0, 9, 12, 13, 19, 20, 22, 23, 27, 28, 29)) &&
           has(extended.ebx, bits(3, 5, 8)) &&  // BMI1, AVX2, BMI2
           has(amd.ecx, bits(0, 5)) &&          // LAHF, LZCNT
           has(kept_state(), bits(1, 2));       // of SSE and AVX
}

inline bool has_x86_64_v4() {
    return has_x86_64_v3() && has(cpuid(7).ebx, bits(16, 17, 28, 30, 31)) &&  // AVX512F, DQ, CD, BW, VL
           has(kept_state(), bits(5, 6, 7));                                  // of AVX-512
}

}  // namespace recsys
#endif
