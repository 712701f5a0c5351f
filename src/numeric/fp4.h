// FP4 E2M1: sign and {0, 0.5, 1, 1.5, 2, 3, 4, 6}. No NaN, no infinity; conversion rounds to nearest even, saturates.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

namespace nibble::numeric {

inline constexpr std::array<float, 16> kE2m1Table = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                                     -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

constexpr float e2m1_to_float(uint8_t code) {
    return kE2m1Table[code & 15u];
}

// The sign bit is kept for values that round to zero, as the hardware conversion does. NaN saturates to 6.
constexpr uint8_t e2m1_from_float(float value) {
    const uint32_t u = std::bit_cast<uint32_t>(value);
    const float a = std::bit_cast<float>(u & 0x7FFFFFFFu);
    uint8_t code = 7;
    if (a <= 0.25f)
        code = 0;
    else if (a < 0.75f)
        code = 1;
    else if (a <= 1.25f)
        code = 2;
    else if (a < 1.75f)
        code = 3;
    else if (a <= 2.5f)
        code = 4;
    else if (a < 3.5f)
        code = 5;
    else if (a <= 5.0f)
        code = 6;
    return static_cast<uint8_t>(code | ((u >> 28) & 8u));
}

}  // namespace nibble::numeric
