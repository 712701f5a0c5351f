// Activations in NVFP4: the published check vector, and the product against its definition.
#include "ops/nvfp4_activations.h"

#include "numeric/bf16.h"
#include "numeric/fp4.h"
#include "ops/linear/linear.h"

#include <gtest/gtest.h>

#include <vector>

namespace nibble::ops {
namespace {

const std::vector<float> kInputs = {0.1f, -0.2f, 0.3f, 0.7f, -0.9f,  1.1f, 1.3f, -1.6f,
                                    2.2f, -2.7f, 3.1f, 3.3f, -0.05f, 0.0f, 1.9f, 2.9f};
constexpr float kInputScale = 8.0f / 2688.0f;
const std::vector<uint8_t> kCodes = {0, 9, 1, 2, 11, 4, 4, 13, 6, 14, 7, 7, 8, 0, 5, 7};

TEST(Nvfp4Activations, AreTheCheckVectorBitForBit) {
    std::vector<float> x;
    for (const float value : kInputs) x.push_back(numeric::round_to_bf16(value));
    round_to_nvfp4(x, kInputScale);
    for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(x[i], numeric::e2m1_to_float(kCodes[i]) * 192.0f) << i;
    std::vector<float> zeros(16), large(16, 1e9f);
    round_to_nvfp4(zeros, kInputScale);
    round_to_nvfp4(large, kInputScale);
    EXPECT_EQ(zeros, std::vector<float>(16));
    EXPECT_EQ(large, std::vector<float>(16, 6 * 448));  // saturates
}

TEST(Nvfp4Activations, LinearMultipliesTheRoundedInputWhereTheContextAsksForIt) {
    const device::Device cpu = *device::find_device("cpu");
    device::Arena arena(*device::Buffer::allocate(cpu, 1 << 16, "a test's arena"));
    OpContext context{.device = &cpu, .arena = &arena};
    // One row of ones: code 2 is 1.0, block scale 0x38 is 1.
    std::vector<uint8_t> weight_bytes(9, 0x22);
    weight_bytes[8] = 0x38;
    Weight weight{.format = WeightFormat::nvfp4,
                  .n = 1,
                  .k = 16,
                  .data = reinterpret_cast<std::byte*>(weight_bytes.data()),
                  .stored_bytes = 9,
                  .scale = 0.5f,
                  .input_scale = kInputScale,
                  .name = "w"};
    std::vector<numeric::bf16> x;
    for (const float value : kInputs) x.push_back(numeric::bf16::from_float(value));
    float y = 0, sum = 0;
    const auto run = [&] {
        linear(context,
               {.x = Tensor(x.data(), DType::bf16, {1, 16}), .weight = weight, .y = Tensor(&y, DType::f32, {1, 1})});
        return y;
    };
    for (const uint8_t code : kCodes) sum += numeric::e2m1_to_float(code) * 192.0f;
    const float exact = run();
    context.nvfp4_activations = true;
    EXPECT_FLOAT_EQ(run(), sum * (0.5f * kInputScale));
    EXPECT_NE(y, exact);
    weight.input_scale = 0;  // not calibrated: as it is
    EXPECT_EQ(run(), exact);
}

}  // namespace
}  // namespace nibble::ops
