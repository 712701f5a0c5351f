#include "numeric/bf16.h"
#include "numeric/fp16.h"
#include "numeric/fp4.h"
#include "numeric/fp8.h"
#include "numeric/nvfp4.h"
#include "numeric/philox.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace nibble::numeric {
namespace {

TEST(Bf16, RoundsToNearestEven) {
    EXPECT_EQ(bf16::from_float(std::bit_cast<float>(0x3F808000u)).bits, 0x3F80);  // tie, even below
    EXPECT_EQ(bf16::from_float(std::bit_cast<float>(0x3F818000u)).bits, 0x3F82);  // tie, even above
    EXPECT_EQ(bf16::from_float(std::bit_cast<float>(0x3F808001u)).bits, 0x3F81);
    EXPECT_TRUE(std::isnan(bf16::from_float(std::bit_cast<float>(0x7F800001u)).to_float()));
    EXPECT_TRUE(std::isinf(bf16::from_float(3.4e38f).to_float()));
}

TEST(Fp16, EveryCodeSurvivesTheRoundTrip) {
    for (uint32_t code = 0; code < 0x10000; ++code) {
        const float value = fp16_to_float(static_cast<uint16_t>(code));
        if (std::isnan(value)) continue;
        EXPECT_EQ(fp16_from_float(value), code);
    }
}

TEST(Fp8, KnownCodesHaveTheirValues) {
    EXPECT_EQ(e4m3_to_float(0x01), 0x1p-9f);
    EXPECT_EQ(e4m3_to_float(0x08), 0x1p-6f);
    EXPECT_EQ(e4m3_to_float(0x30), 0.5f);
    EXPECT_EQ(e4m3_to_float(0x38), 1.0f);
    EXPECT_EQ(e4m3_to_float(0x77), 240.0f);
    EXPECT_EQ(e4m3_to_float(0x7E), 448.0f);
    EXPECT_TRUE(std::isnan(e4m3_to_float(0xFF)));
}

TEST(Fp8, FromFloatPicksTheNearestCodeTiesToEven) {
    std::mt19937 random(1);
    std::uniform_real_distribution<float> exponent(-12.0f, 10.0f);
    for (int i = 0; i < 200000; ++i) {
        const float value = std::exp2(exponent(random)) * (i % 2 ? 1.0f : -1.0f);
        const uint8_t code = e4m3_from_float(value);
        ASSERT_NE(code & 0x7F, 0x7F);
        if (std::fabs(value) >= kE4m3Max) {
            ASSERT_EQ(std::fabs(e4m3_to_float(code)), kE4m3Max);
            continue;
        }
        const float error = std::fabs(e4m3_to_float(code) - value);
        for (int other = 0; other < 256; ++other) {
            if ((other & 0x7F) == 0x7F) continue;
            const float distance = std::fabs(e4m3_to_float(static_cast<uint8_t>(other)) - value);
            ASSERT_LE(error, distance) << value;
            if (distance == error && e4m3_to_float(other) != e4m3_to_float(code)) {
                ASSERT_EQ(code & 1, 0) << value;
            }
        }
    }
    for (int code = 0; code < 256; ++code)
        if ((code & 0x7F) != 0x7F) {
            EXPECT_EQ(e4m3_from_float(e4m3_to_float(code)), code);
        }
}

TEST(Fp4, TiesGoToTheEvenCodeAndTheSignIsKept) {
    const float ties[] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f};
    const uint8_t codes[] = {0, 2, 2, 4, 4, 6, 6};
    for (int i = 0; i < 7; ++i) {
        EXPECT_EQ(e2m1_from_float(ties[i]), codes[i]);
        EXPECT_EQ(e2m1_from_float(-ties[i]), codes[i] | 8);
    }
    EXPECT_EQ(e2m1_from_float(1e9f), 7);
    EXPECT_EQ(e2m1_from_float(-0.1f), 8);
}

// The check vector of the format's specification (modelopt, max scaling).
TEST(Nvfp4, QuantizesTheCheckVectorBitForBit) {
    const float scale = std::bit_cast<float>(0x3A430C31u);
    EXPECT_EQ(scale, 2.0f / 2688.0f);
    const std::vector<float> block = {0.f,   .05f, -.05f, .1f,  .125f,  -.25f, .3f,   .375f,
                                      -.45f, .5f,  .6f,   .75f, -.875f, 1.f,   -1.1f, 1.2f};
    std::vector<uint8_t> codes(8), scales(1);
    nvfp4_quantize_row(block, scale, codes, scales);
    EXPECT_EQ(scales[0], 0x78);
    EXPECT_EQ(codes, (std::vector<uint8_t>{0x10, 0x19, 0xB1, 0x43, 0x5C, 0x65, 0x7E, 0x7F}));
    std::vector<float> back(16);
    nvfp4_dequantize_row(codes, scales, scale, back);
    EXPECT_FLOAT_EQ(back[15], 6.0f * 0.19047619f);
}

TEST(Nvfp4, RequantizingADequantizedRowIsTheIdentity) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    std::vector<float> row(256), back(256);
    for (float& v : row) v = normal(random);
    const float scale = nvfp4_global_scale(row);
    std::vector<uint8_t> codes(128), scales(16), codes2(128), scales2(16);
    nvfp4_quantize_row(row, scale, codes, scales);
    nvfp4_dequantize_row(codes, scales, scale, back);
    nvfp4_quantize_row(back, scale, codes2, scales2);
    std::vector<float> again(256);
    nvfp4_dequantize_row(codes2, scales2, scale, again);
    for (int i = 0; i < 256; ++i) EXPECT_FLOAT_EQ(back[i], again[i]);
}

// Known answers of the Random123 distribution for philox4x32-10.
TEST(Philox, GivesTheKnownAnswers) {
    const auto zeros = philox(0, 0, 0);
    EXPECT_EQ(zeros.word[0], 0x6627e8d5u);
    EXPECT_EQ(zeros.word[1], 0xe169c58du);
    EXPECT_EQ(zeros.word[2], 0xbc57ac4cu);
    EXPECT_EQ(zeros.word[3], 0x9b00dbd8u);
    const auto ones = philox(~0ull, ~0ull, ~0ull);
    EXPECT_EQ(ones.word[0], 0x408f276du);
}

}  // namespace
}  // namespace nibble::numeric
