// bf16: the upper half of a float32. Conversion from float rounds to nearest, ties to even; NaN stays NaN.
#pragma once

#include <bit>
#include <cstdint>

namespace nibble::numeric {

struct bf16 {
    uint16_t bits;

    static constexpr bf16 from_float(float value) {
        const uint32_t u = std::bit_cast<uint32_t>(value);
        if ((u & 0x7FFFFFFFu) > 0x7F800000u) return bf16{static_cast<uint16_t>((u >> 16) | 0x40u)};
        return bf16{static_cast<uint16_t>((u + 0x7FFFu + ((u >> 16) & 1u)) >> 16)};
    }
    constexpr float to_float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
};

// What a float becomes when it is stored as bf16 and read back.
constexpr float round_to_bf16(float value) {
    return bf16::from_float(value).to_float();
}

}  // namespace nibble::numeric
