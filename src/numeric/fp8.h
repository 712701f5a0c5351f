// FP8 E4M3 (FN): sign, 4 exponent bits with bias 7, 3 mantissa bits; 0x7F and 0xFF are NaN, no infinity, largest 448.
// Conversion from float rounds to nearest even and saturates, as checkpoints' scales and FP8 caches want it.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace nibble::numeric {

inline constexpr float kE4m3Max = 448.0f;

constexpr float e4m3_to_float(uint8_t code) {
    const uint32_t sign = static_cast<uint32_t>(code & 0x80u) << 24;
    const uint32_t magnitude = code & 0x7Fu;
    if (magnitude == 0x7Fu) return std::bit_cast<float>(sign | 0x7FC00000u);
    // magnitude << 20 puts the exponent's low bits in place; 2^120 mends the bias (127 - 7), subnormals included.
    const float value = std::bit_cast<float>(magnitude << 20) * 0x1p120f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | sign);
}

constexpr uint8_t e4m3_from_float(float value) {
    const uint32_t u = std::bit_cast<uint32_t>(value);
    const uint8_t sign = static_cast<uint8_t>((u >> 24) & 0x80u);
    const uint32_t magnitude = u & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) return static_cast<uint8_t>(sign | 0x7Fu);
    if (magnitude >= 0x43E80000u) return static_cast<uint8_t>(sign | 0x7Eu);  // >= 464 rounds past 448: saturate
    if (magnitude < 0x3C800000u) {  // below 2^-6: subnormal, steps of 2^-9; adding 2^14 aligns and rounds
        const float shifted = std::bit_cast<float>(magnitude) + 16384.0f;
        return static_cast<uint8_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x46800000u));
    }
    const uint32_t rounded = magnitude + 0x7FFFFu + ((magnitude >> 20) & 1u);
    const uint32_t code = (rounded - 0x3C000000u) >> 20;
    return static_cast<uint8_t>(sign | (code > 0x7Eu ? 0x7Eu : code));
}

inline constexpr std::array<float, 256> kE4m3Table = [] {
    std::array<float, 256> table{};
    for (int code = 0; code < 256; ++code) table[code] = e4m3_to_float(static_cast<uint8_t>(code));
    return table;
}();

}  // namespace nibble::numeric
