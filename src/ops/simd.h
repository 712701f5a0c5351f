// The SIMD targets that Highway files are compiled for: include this before hwy/foreach_target.h.
//
// x86: AVX-512, AVX2, SSE4 and the portable baseline; Arm: NEON. Scalable vectors (SVE, RVV) cannot be kept in arrays,
// which the kernels need; Arm processors that have SVE run the NEON code.
#pragma once

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)

// Unrolls the loop that follows: the arrays of sums in kernels are registers, so every loop over them must vanish.
#define NIBBLE_UNROLL _Pragma("GCC unroll 16")
