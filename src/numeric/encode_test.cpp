// Encoding against the definitions of nvfp4.h and fp8.h, on values of every size.
#include "numeric/encode.h"
#include "numeric/bf16.h"
#include "numeric/fp8.h"
#include "numeric/nvfp4.h"
#include "numeric/philox.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <vector>

namespace nibble::numeric {
namespace {

// Finite values of any magnitude within 2^-spread .. 2^spread, with zeros of both signs, exact ties and denormals.
std::vector<float> values(uint64_t seed, size_t count, int spread) {
    std::vector<float> made(count);
    for (size_t i = 0; i < count; ++i) {
        const PhiloxWords words = philox(seed, i, 0);
        const float unit = unit_float(words.word[0]) * 2 - 1;
        made[i] = std::ldexp(unit, static_cast<int>(words.word[1] % static_cast<unsigned>(2 * spread + 1)) - spread);
        if (words.word[2] % 8 == 0)
            made[i] = std::ldexp(std::copysign(0.25f * static_cast<float>(words.word[3] % 25), unit), 0);
        if (words.word[2] % 61 == 1) made[i] = -0.0f;
        if (words.word[2] % 61 == 2) made[i] = std::bit_cast<float>(words.word[3] & 0x807FFFFFu);
        if (words.word[2] % 97 == 3)  // a whole block of zeros
            for (size_t j = i / 16 * 16; j <= i; ++j) made[j] = 0;
    }
    return made;
}

double squared_error(const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    return sum;
}

TEST(Encode, PlainNvfp4IsTheDefinition) {
    for (const int spread : {0, 1, 4, 12, 40, 120})
        for (const uint64_t seed : {1, 2, 3}) {
            const auto row = values(seed, 16 * 700, spread);
            const float scale = nvfp4_global_scale(row);
            std::vector<uint8_t> codes(row.size() / 2), scales(row.size() / 16), codes2 = codes, scales2 = scales;
            nvfp4_quantize_row(row, scale, codes, scales);
            const EncodingError lost = nvfp4_encode(row, scale, ScaleSearch::none, {}, codes2, scales2);
            ASSERT_EQ(scales, scales2) << spread;
            ASSERT_EQ(codes, codes2) << spread;
            std::vector<float> back(row.size());
            nvfp4_dequantize_row(codes, scales, scale, back);
            EXPECT_NEAR(lost.squared_error, squared_error(row, back), lost.squared_error * 1e-4) << spread;
        }
}

TEST(Encode, ASearchNeverLosesMoreThanThePlainScale) {
    const auto row = values(5, 16 * 2000, 2);
    const float scale = nvfp4_global_scale(row) * 1.5f;  // room above the largest block
    std::vector<uint8_t> codes(row.size() / 2), scales(row.size() / 16), codes2 = codes, scales2 = scales;
    nvfp4_encode(row, scale, ScaleSearch::none, {}, codes, scales);
    nvfp4_encode(row, scale, ScaleSearch::mse, {}, codes2, scales2);
    std::vector<float> plain(row.size()), searched(row.size());
    nvfp4_dequantize_row(codes, scales, scale, plain);
    nvfp4_dequantize_row(codes2, scales2, scale, searched);
    double all_plain = 0, all_searched = 0;
    for (size_t b = 0; b < scales.size(); ++b) {
        double one = 0, other = 0;
        for (size_t i = b * 16; i < b * 16 + 16; ++i) {
            one += std::pow(static_cast<double>(row[i]) - static_cast<double>(plain[i]), 2);
            other += std::pow(static_cast<double>(row[i]) - static_cast<double>(searched[i]), 2);
        }
        ASSERT_LE(other, one * (1 + 1e-5)) << b;
        all_plain += one;
        all_searched += other;
    }
    EXPECT_LT(all_searched, all_plain * 0.95);
}

TEST(Encode, AWeightedSearchServesTheColumnsThatCount) {
    const auto row = values(6, 16 * 2000, 1);
    const float scale = nvfp4_global_scale(row) * 1.5f;
    std::vector<float> weights(row.size(), 1e-3f);
    for (size_t i = 5; i < weights.size(); i += 16) weights[i] = 1;
    std::vector<uint8_t> codes(row.size() / 2), scales(row.size() / 16);
    const auto error_there = [&](std::span<const float> weighted_by) {
        nvfp4_encode(row, scale, ScaleSearch::mse, weighted_by, codes, scales);
        std::vector<float> back(row.size());
        nvfp4_dequantize_row(codes, scales, scale, back);
        double sum = 0;
        for (size_t i = 5; i < row.size(); i += 16)
            sum += std::pow(static_cast<double>(row[i]) - static_cast<double>(back[i]), 2);
        return sum;
    };
    EXPECT_LT(error_there(weights), error_there({}) * 0.5);
}

TEST(Encode, Fp8IsTheDefinition) {
    for (const int spread : {0, 3, 12, 60}) {
        const auto row = values(9, 16 * 300 + 7, spread);
        const float scale = largest_magnitude(row) / kE4m3Max;
        std::vector<uint8_t> codes(row.size());
        const EncodingError lost = fp8_encode(row, scale, codes);
        std::vector<float> back(row.size());
        for (size_t i = 0; i < row.size(); ++i) {
            ASSERT_EQ(codes[i], e4m3_from_float(row[i] / scale)) << row[i];
            back[i] = e4m3_to_float(codes[i]) * scale;
        }
        EXPECT_NEAR(lost.squared_error, squared_error(row, back), lost.squared_error * 1e-4);
    }
}

TEST(Encode, LargestMagnitudeLooksAtEveryValue) {
    for (size_t count : {1, 15, 16, 17, 63, 64, 65, 200})
        for (size_t at = 0; at < count; ++at) {
            std::vector<float> row(count, 0.5f);
            row[at] = -7;
            ASSERT_EQ(largest_magnitude(row), 7) << count << " " << at;
        }
    EXPECT_EQ(largest_magnitude({}), 0);
}

TEST(Encode, WideningBf16KeepsTheBits) {
    std::vector<uint16_t> halves(65536);
    for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i);
    std::vector<float> wide(halves.size());
    widen_bf16(std::as_bytes(std::span(halves)), wide);
    for (size_t i = 0; i < wide.size(); ++i) ASSERT_EQ(std::bit_cast<uint32_t>(wide[i]), uint32_t{halves[i]} << 16);
}

}  // namespace
}  // namespace nibble::numeric
