#include "numeric/nvfp4.h"

#include "base/check.h"
#include "numeric/fp4.h"
#include "numeric/fp8.h"

#include <algorithm>
#include <cmath>

namespace nibble::numeric {

void nvfp4_dequantize_row(std::span<const uint8_t> codes, std::span<const uint8_t> scales, float scale,
                          std::span<float> values) {
    CHECK(codes.size() * 2 == values.size() && scales.size() * kNvfp4Group == values.size());
    for (size_t block = 0; block < scales.size(); ++block) {
        const float block_scale = kE4m3Table[scales[block]] * scale;
        for (size_t i = 0; i < kNvfp4Group / 2; ++i) {
            const uint8_t pair = codes[block * (kNvfp4Group / 2) + i];
            values[block * kNvfp4Group + 2 * i] = kE2m1Table[pair & 15] * block_scale;
            values[block * kNvfp4Group + 2 * i + 1] = kE2m1Table[pair >> 4] * block_scale;
        }
    }
}

float nvfp4_global_scale(std::span<const float> values) {
    float amax = 0.0f;
    for (float v : values) amax = std::max(amax, std::fabs(v));
    return amax / (6.0f * kE4m3Max);
}

void nvfp4_quantize_row(std::span<const float> values, float scale, std::span<uint8_t> codes,
                        std::span<uint8_t> scales) {
    CHECK(codes.size() * 2 == values.size() && scales.size() * kNvfp4Group == values.size());
    for (size_t block = 0; block < scales.size(); ++block) {
        const auto group = values.subspan(block * kNvfp4Group, kNvfp4Group);
        float amax = 0.0f;
        for (float v : group) amax = std::max(amax, std::fabs(v));
        float block_scale = amax / (6.0f * scale);
        if (!(block_scale > 0.0f)) block_scale = 1.0f;  // a block of zeros (or a matrix of zeros: 0 / 0)
        block_scale = std::clamp(block_scale, 0x1p-9f, kE4m3Max);
        scales[block] = e4m3_from_float(block_scale);
        const float step = kE4m3Table[scales[block]] * scale;
        for (size_t i = 0; i < kNvfp4Group / 2; ++i) {
            // Adding zero makes a negative zero positive, and nothing else: modelopt's sign is v < 0.
            const auto code = [&](float v) -> uint8_t { return step == 0.0f ? 0 : e2m1_from_float(v / step + 0.0f); };
            codes[block * (kNvfp4Group / 2) + i] =
                static_cast<uint8_t>(code(group[2 * i]) | (code(group[2 * i + 1]) << 4));
        }
    }
}

}  // namespace nibble::numeric
