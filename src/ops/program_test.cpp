// What a recorded step says of the weights it reads adds up to what it says it costs.
#include "device/buffer.h"
#include "ops/linear/linear.h"
#include "ops/moe/moe.h"
#include "ops/norm/norm.h"

#include <gtest/gtest.h>

#include <cmath>

namespace nibble::ops {
namespace {

using Role = WeightRead::Role;

class Recording {
public:
    Recording() : device_(device::cpu_device()) {
        context_ = {.device = &device_, .arena = &arena_, .mode = Mode::record, .program = &program};
    }
    OpContext& context() { return context_; }
    Program program;

private:
    device::Device device_;
    device::Arena arena_;
    OpContext context_;
};

Weight weight(WeightFormat format, int64_t n, int64_t k, std::string_view name) {
    const WeightLayout layout = preferred_layout(format, n, k, device::cpu_device());
    Weight weight{.format = format, .layout = layout, .n = n, .k = k};
    weight.stored_bytes = packed_bytes(format, layout, n, k);
    weight.name = name;
    return weight;
}

Tensor nowhere(DType dtype, int64_t rows, int64_t columns) {
    return Tensor(nullptr, dtype, {rows, columns});
}

double bytes_of(const ProgramStep& step, Role role) {
    double bytes = 0;
    for (const WeightRead& read : step.weights)
        if (read.role == role) bytes += read.read * static_cast<double>(read.stored_bytes);
    return bytes;
}

TEST(Program, ALinearStepReadsItsMatrixOnce) {
    Recording recording;
    linear(recording.context(), {.x = nowhere(DType::bf16, 4, 64),
                                 .weight = weight(WeightFormat::nvfp4, 96, 64, "layers.0.mixer.in_proj"),
                                 .y = nowhere(DType::bf16, 4, 96)});
    const ProgramStep& step = recording.program.steps.back();
    ASSERT_EQ(step.weights.size(), 1u);
    EXPECT_EQ(step.weights[0].module, "layers.0.mixer.in_proj");
    EXPECT_EQ(step.weights[0].format, WeightFormat::nvfp4);
    EXPECT_EQ(step.weights[0].stored_bytes, 96 * 64 * 9 / 16);
    EXPECT_EQ(step.cost.weight_bytes, step.weights[0].stored_bytes);
}

TEST(Program, AMixtureSaysWhichOfItsWeightsAreRead) {
    Recording recording;
    Experts up, down;
    up.first = weight(WeightFormat::nvfp4, 64, 32, "mixer.experts.0.up_proj");
    down.first = weight(WeightFormat::nvfp4, 32, 64, "mixer.experts.0.down_proj");
    up.count = down.count = 8;
    up.scales = down.scales = Tensor(nullptr, DType::f32, {8});
    for (const int64_t tokens : {1, 5}) {
        moe(recording.context(), {.x = nowhere(DType::bf16, tokens, 32),
                                  .router = weight(WeightFormat::f32, 8, 32, "mixer.gate"),
                                  .correction_bias = Tensor(nullptr, DType::f32, {8}),
                                  .up = up,
                                  .down = down,
                                  .shared_up = weight(WeightFormat::bf16, 128, 32, "mixer.shared_experts.up_proj"),
                                  .shared_down = weight(WeightFormat::bf16, 32, 128, "mixer.shared_experts.down_proj"),
                                  .y = nowhere(DType::bf16, tokens, 32),
                                  .top_k = 2});
        const ProgramStep& step = recording.program.steps.back();
        EXPECT_EQ(bytes_of(step, Role::router), 8 * 32 * 4 * 2);  // eight rows in a block of sixteen
        EXPECT_EQ(bytes_of(step, Role::shared_expert), 2 * 128 * 32 * 2);
        const double one = static_cast<double>(up.first.stored_bytes + down.first.stored_bytes);
        EXPECT_NEAR(bytes_of(step, Role::routed_experts), step.cost.distinct_experts * one, 1e-6);
        EXPECT_NEAR(step.cost.distinct_experts, 8 * (1 - std::pow(0.75, static_cast<double>(tokens))), 1e-9);
        double sum = 8 * 4;  // the bias
        for (const Role role : {Role::router, Role::shared_expert, Role::routed_experts, Role::norm})
            sum += bytes_of(step, role);
        EXPECT_NEAR(static_cast<double>(step.cost.weight_bytes), sum, 1.0);
    }
}

TEST(Program, ANormIsNamedAsOne) {
    Recording recording;
    rms_norm(recording.context(), {.x = nowhere(DType::bf16, 2, 64),
                                   .residual = {},
                                   .weight = Tensor(nullptr, DType::bf16, {64}),
                                   .y = nowhere(DType::bf16, 2, 64)});
    EXPECT_EQ(bytes_of(recording.program.steps.back(), Role::norm), 128);
    EXPECT_EQ(recording.program.steps.back().cost.weight_bytes, 128);
}

}  // namespace
}  // namespace nibble::ops
