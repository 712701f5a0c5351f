// Oracles against worked examples: what the golden checkpoints of tests/golden (nemotron_h, llama) do not reach.
#include "ops/attention/attention.h"
#include "ops/moe/moe.h"
#include "ops/norm/norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace nibble::ops {
namespace {

Tensor f32(std::vector<float>& v, std::initializer_list<int64_t> shape) {
    return Tensor(v.data(), DType::f32, shape);
}

class Oracle : public testing::Test {
protected:
    Oracle() : arena_(*device::Buffer::allocate(device_, 1 << 20, "scratch")) {
        for (const char* op : {"attention", "moe", "rms_norm", "activate"}) forced_[op] = "ref";
        context_.device = &device_;
        context_.arena = &arena_;
        context_.forced = &forced_;
        context_.activation = DType::f32;
    }
    const device::Device device_ = device::cpu_device();
    device::Arena arena_;
    ForcedRows forced_;
    OpContext context_;
};

// A mixture over one input of 1: expert e gives down[e], the router's logits are given.
struct TinyMoe {
    std::vector<float> x{1}, y{0}, logits, ones, down, bias, scales;
    std::vector<int32_t> counts;
    MoeArgs args;

    TinyMoe(std::vector<float> router, std::vector<float> outputs)
        : logits(std::move(router)),
          ones(logits.size(), 1.0f),
          down(std::move(outputs)),
          bias(logits.size(), 0.0f),
          scales(logits.size(), 1.0f),
          counts(logits.size(), 0) {
        const auto count = static_cast<int64_t>(logits.size());
        const auto weight = [](std::vector<float>& v, int64_t n) {
            return Weight{.format = WeightFormat::f32,
                          .n = n,
                          .k = 1,
                          .data = reinterpret_cast<std::byte*>(v.data()),
                          .stored_bytes = 4 * n};
        };
        const auto experts = [&](std::vector<float>& v) {
            return Experts{.first = weight(v, 1), .count = count, .stride_bytes = 4, .scales = f32(scales, {count})};
        };
        args = {.x = f32(x, {1, 1}),
                .router = weight(logits, count),
                .correction_bias = f32(bias, {count}),
                .up = experts(ones),
                .down = experts(down),
                .y = f32(y, {1, 1}),
                .expert_tokens = Tensor(counts.data(), DType::i32, {count})};
    }
};

TEST_F(Oracle, RouterChoosesWithTheBiasAndWeighsWithoutIt) {
    for (const auto& [expert, weight] : {std::pair{1, 0.717460899}, std::pair{3, 1.782539101}}) {
        std::vector<float> outputs(4, 0.0f);
        outputs[expert] = 1.0f;
        TinyMoe tiny({.2f, -1, 1.5f, .7f}, outputs);
        tiny.bias = {0, .9f, -.3f, .05f};
        tiny.args.top_k = 2;
        tiny.args.routed_scale = 2.5f;
        moe(context_, tiny.args);
        EXPECT_NEAR(tiny.y[0], weight, 1e-6);
        EXPECT_EQ(tiny.counts, (std::vector<int32_t>{0, 1, 0, 1}));
    }
}

TEST_F(Oracle, RouterKeepsTheGroupsWithTheTwoBestExperts) {
    TinyMoe tiny({3, -3, 1, 1.1f, -2, -2}, {1, 10, 100, 1000, 10000, 100000});
    tiny.args.top_k = 2;
    tiny.args.expert_groups = 3;
    tiny.args.top_groups = 1;
    moe(context_, tiny.args);  // 0.953 + 0.047 against 0.731 + 0.750
    EXPECT_EQ(tiny.counts, (std::vector<int32_t>{0, 0, 1, 1, 0, 0}));
}

TEST_F(Oracle, EqualScoresGoToTheLowerExpert) {
    TinyMoe tiny({1, 1, 1, 1}, {1, 2, 4, 8});
    tiny.args.top_k = 2;
    moe(context_, tiny.args);
    EXPECT_EQ(tiny.counts, (std::vector<int32_t>{1, 1, 0, 0}));
    EXPECT_NEAR(tiny.y[0], 1.5, 1e-6);
}

TEST_F(Oracle, SoftmaxScoresMayStayAsTheyAre) {
    TinyMoe tiny({0, std::log(3.0f), 0, 0}, {0, 1, 0, 0});
    tiny.args.top_k = 1;
    tiny.args.score = RouterScore::softmax;
    tiny.args.normalize = false;
    moe(context_, tiny.args);
    EXPECT_NEAR(tiny.y[0], 0.5, 1e-6);
}

TEST_F(Oracle, SharedExpertMayHaveAGate) {
    TinyMoe tiny({0, 0}, {1, 1});
    std::vector<float> up{2}, down{3}, gate{std::log(3.0f)}, residual{100};
    const auto one = [](std::vector<float>& v) {
        return Weight{.format = WeightFormat::f32, .n = 1, .k = 1, .data = reinterpret_cast<std::byte*>(v.data())};
    };
    tiny.args.top_k = 1;
    tiny.args.shared_up = one(up);
    tiny.args.shared_down = one(down);
    tiny.args.shared_gate = one(gate);
    tiny.args.residual = f32(residual, {1, 1});
    moe(context_, tiny.args);
    EXPECT_NEAR(tiny.y[0], 100 + 1 + 0.75 * 3 * 4, 1e-4);
}

TEST_F(Oracle, ActivationsHaveTheirKnownValues) {
    std::vector<float> x{-1, 1, 3, 2}, y(2);
    const auto run = [&](Activation activation) {
        activate(context_, {.x = f32(x, {1, 4}), .y = f32(y, {1, 2}), .activation = activation});
    };
    run(Activation::swiglu);  // [gate | up]
    EXPECT_NEAR(y[0], -0.2689414213 * 3, 1e-6);
    EXPECT_NEAR(y[1], 0.7310585786 * 2, 1e-6);
    run(Activation::gelu_tanh_glu);
    EXPECT_NEAR(y[0], -0.1588080094 * 3, 1e-6);
    EXPECT_NEAR(y[1], 0.8411919906 * 2, 1e-6);
    std::vector<float> z(4);
    activate(context_, {.x = f32(x, {1, 4}), .y = f32(z, {1, 4}), .activation = Activation::relu2});
    EXPECT_EQ(z, (std::vector<float>{0, 1, 9, 4}));
}

TEST_F(Oracle, NormMayKeepItsWeightLessOneAndAddTheResidualFirst) {
    std::vector<float> x{1, 2}, residual{2, 2}, weight{0, 1}, y(2);
    rms_norm(context_, {.x = f32(x, {1, 2}),
                        .residual = f32(residual, {1, 2}),
                        .weight = f32(weight, {2}),
                        .y = f32(y, {1, 2}),
                        .eps = 0.0f,
                        .unit_offset = true});
    EXPECT_EQ(residual, (std::vector<float>{3, 4}));
    EXPECT_NEAR(y[0], 3 / std::sqrt(12.5), 1e-6);
    EXPECT_NEAR(y[1], 4 / std::sqrt(12.5) * 2, 1e-6);
}

TEST_F(Oracle, WindowCountsTheQuerysOwnKey) {
    std::vector<float> q(4, 0.0f), k(4, 0.0f), v{1, 2, 4, 8}, out(4), k_pages(4), v_pages(4);
    std::vector<int32_t> row_start{0, 4}, context{4}, pages{1, 0}, slot{0};
    const Sequences s{.count = 1,
                      .tokens = 4,
                      .row_start = Tensor(row_start.data(), DType::i32, {2}),
                      .context_length = Tensor(context.data(), DType::i32, {1}),
                      .page_table = Tensor(pages.data(), DType::i32, {1, 2}),
                      .slot = Tensor(slot.data(), DType::i32, {1}),
                      .page_size = 2,
                      .max_rows = 4,
                      .max_context = 4,
                      .total_context = 4};
    attention(context_, {.q = f32(q, {4, 1}),
                         .k = f32(k, {4, 1}),
                         .v = f32(v, {4, 1}),
                         .k_pages = f32(k_pages, {2, 2, 1, 1}),
                         .v_pages = f32(v_pages, {2, 2, 1, 1}),
                         .out = f32(out, {4, 1}),
                         .sequences = s,
                         .query_heads = 1,
                         .kv_heads = 1,
                         .head_dim = 1,
                         .scale = 1.0f,
                         .window = 2});
    EXPECT_EQ(out, (std::vector<float>{1, 1.5f, 3, 6}));
    EXPECT_EQ(v_pages, (std::vector<float>{4, 8, 1, 2}));
}

}  // namespace
}  // namespace nibble::ops
