// The weight of a token in sampling: exp(z) as an integer, from a fixed sequence of float32 operations.
//
// sample_weight(z) = round to nearest even of 2^44 · e(z), e(z) within 2e-7 (relative) of exp(z), 0 below z = -32.
// Every operation is one IEEE rounding and none is fused, so that a vector, a scalar and a GPU give the same integer (a
// GPU row writes them as __fmul_rn and __fadd_rn). Sums of up to 2^19 weights fit 64 bits, and integer sums have no
// order.
#pragma once

#include "numeric/philox.h"  // NIBBLE_HOST_DEVICE

#include <bit>
#include <cstdint>

namespace nibble::ops {

namespace weight {
inline constexpr float kLowest = -32.0f;  // 2^44 · exp(-32) < 1/2
inline constexpr float kLog2E = 1.44269504f;
inline constexpr float kRoundToInteger = 12582912.0f;  // 1.5 · 2^23: adding and subtracting it rounds to nearest even
inline constexpr float kLn2High = 0.693145752f;        // 16 significant bits: n · kLn2High is exact for |n| < 2^8
inline constexpr float kLn2Low = 1.42860677e-6f;
// exp(r) by its series to r^7: |r| <= ln 2 / 2, the rest is under 6e-9.
inline constexpr float kSeries[] = {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
inline constexpr double kScale = 0x1p44;
inline constexpr double kToInteger = 0x1p52;  // as kRoundToInteger, leaving the integer in the low bits
inline constexpr uint64_t kToIntegerBits = 0x4330000000000000ull;
}  // namespace weight

inline constexpr int64_t kMaxSampleVocab = int64_t{1} << 19;

// z <= 0, or not a number (then 0).
NIBBLE_HOST_DEVICE inline uint64_t sample_weight(float z) {
    if (!(z >= weight::kLowest)) return 0;
    const float n = (z * weight::kLog2E + weight::kRoundToInteger) - weight::kRoundToInteger;
    const float r = (z - n * weight::kLn2High) - n * weight::kLn2Low;
    float e = weight::kSeries[0];
    for (int i = 1; i < 8; ++i) e = e * r + weight::kSeries[i];
    e *= std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
    return std::bit_cast<uint64_t>(static_cast<double>(e) * weight::kScale + weight::kToInteger) -
           weight::kToIntegerBits;
}

// floor(sum · u / 2^64): uniform in [0, sum) for a uniform u.
NIBBLE_HOST_DEVICE inline uint64_t scale_random(uint64_t sum, uint64_t u) {
    const uint64_t a = sum >> 32, b = sum & 0xffffffffu, c = u >> 32, d = u & 0xffffffffu;
    const uint64_t low = b * d, middle = b * c + (low >> 32), cross = a * d + (middle & 0xffffffffu);
    return a * c + (middle >> 32) + (cross >> 32);
}

// How much of `sum` a prefix must reach under top_p: at least 1, at most sum.
NIBBLE_HOST_DEVICE inline uint64_t top_p_target(uint64_t sum, float top_p) {
    if (top_p >= 1.0f) return sum;
    const double wanted = static_cast<double>(top_p) * static_cast<double>(sum);
    uint64_t target = static_cast<uint64_t>(wanted);
    if (static_cast<double>(target) < wanted) ++target;
    if (target < 1) target = 1;
    return target < sum ? target : sum;
}

// Step 2 of the contract for one token.
NIBBLE_HOST_DEVICE inline float penalized(float x, float count, float repetition, float presence, float frequency) {
    x = x > 0 ? x / repetition : x * repetition;
    x -= count * frequency;
    if (count > 0) x -= presence;
    return x;
}

}  // namespace nibble::ops
