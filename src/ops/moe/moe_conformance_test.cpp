#include "ops/conformance.h"
#include "ops/moe/activation.h"
#include "ops/moe/moe.h"

namespace nibble::ops {

void visit(MoeArgs& a, const conformance::Visitor& visitor) {
    visitor(a.x);
    visitor(a.router, router_layout);
    visitor(a.correction_bias);
    for (Experts* experts : {&a.up, &a.down}) {
        visitor.weight(experts->first, preferred_layout, experts->count, experts->stride_bytes);
        visitor(experts->scales);
        visitor(experts->row_scales);
    }
    visitor(a.shared_up);
    visitor(a.shared_down);
    visitor(a.shared_gate);
    visitor(a.residual);
    visitor(a.y, true);
    visitor(a.expert_tokens, true);
}

void visit(ActivateArgs& a, const conformance::Visitor& visitor) {
    visitor(a.x);
    visitor(a.y, true);
}

namespace {

using namespace conformance;

struct Shape {
    int64_t tokens, experts, top_k, width, hidden, shared_hidden;
};

struct Layer {
    Memory memory;
    MoeArgs args;

    Layer(WeightFormat format, WeightFormat router, Shape s, Activation activation, DType dtype, DType y_dtype,
          Generator& random) {
        const int64_t factor = is_gated(activation) ? 2 : 1;
        args.x = memory.tensor(dtype, {s.tokens, s.width}, s.width % 64 == 0 ? 8 : 3);
        fill_normal(args.x, random);
        args.router = memory.weight(router, s.experts, s.width, random, 0.1f);
        args.up = experts(format, s.experts, factor * s.hidden, s.width, random);
        args.down = experts(format, s.experts, s.width, s.hidden, random);
        if (s.shared_hidden > 0) {
            args.shared_up = memory.weight(format, factor * s.shared_hidden, s.width, random, 0.1f);
            args.shared_down = memory.weight(format, s.width, s.shared_hidden, random, 0.1f);
        }
        args.y = memory.tensor(y_dtype, {s.tokens, s.width}, 1);
        if (y_dtype != dtype) {
            args.residual = memory.tensor(y_dtype, {s.tokens, s.width}, 2);
            fill_normal(args.residual, random);
        }
        args.expert_tokens = memory.tensor(DType::i32, {s.experts});
        fill_integers(args.expert_tokens, std::vector<int32_t>(static_cast<size_t>(s.experts), 5));
        args.top_k = s.top_k;
        args.activation = activation;
    }

    Experts experts(WeightFormat format, int64_t count, int64_t n, int64_t k, Generator& random) {
        Experts e{.count = count};
        e.first = memory.weights(format, count, n, k, random, 0.1f, e.stride_bytes);
        e.scales = memory.tensor(DType::f32, {count});
        fill(e.scales, [&, i = 0]() mutable { return e.first.scale * (1.0f + 0.1f * static_cast<float>(i++)); });
        return e;
    }
};

std::string describe(WeightFormat format, Shape s, Activation activation, DType dtype) {
    return fmt::format("{} T={} E={} top {} H={} F={} S={} activation {} {}", name(format), s.tokens, s.experts,
                       s.top_k, s.width, s.hidden, s.shared_hidden, static_cast<int>(activation), numeric::name(dtype));
}

// Rounding of the hidden values stands between two float32 sums, so float32 rows agree less closely than one product.
numeric::Tolerance tolerance(DType dtype) {
    return dtype == DType::f32 ? numeric::kFloat32 : numeric::kBf16Output;
}

TEST(Conformance, MoeRowsAgreeWithTheReference) {
    Generator random(11);
    const Shape shapes[] = {{1, 8, 2, 64, 32, 48},   {2, 8, 3, 80, 48, 0},      {3, 16, 1, 48, 80, 32},
                            {7, 5, 5, 96, 16, 64},   {16, 32, 6, 112, 48, 96},  {33, 16, 4, 64, 64, 0},
                            {530, 4, 2, 32, 16, 16}, {1, 16, 3, 128, 64, 192},  {6, 16, 6, 192, 128, 0},
                            {1, 40, 6, 192, 128, 0}, {40, 40, 6, 192, 64, 128}, {230, 8, 2, 64, 128, 192}};
    for (const WeightFormat format : {WeightFormat::nvfp4, WeightFormat::fp8, WeightFormat::bf16, WeightFormat::f32})
        for (const auto& [dtype, y_dtype] :
             {std::pair{DType::bf16, DType::bf16}, {DType::f32, DType::f32}, {DType::bf16, DType::f32}})
            for (const Activation activation : {Activation::relu2, Activation::swiglu, Activation::gelu_tanh_glu})
                for (const Shape& s : shapes) {
                    if (s.tokens > 500 && (format != WeightFormat::nvfp4 || activation != Activation::relu2)) continue;
                    Layer layer(format, dtype == DType::f32 ? WeightFormat::f32 : WeightFormat::bf16, s, activation,
                                dtype, y_dtype, random);
                    check_rows(kMoe, layer.memory, layer.args,
                               {describe(format, s, activation, dtype) + " to " + std::string(numeric::name(y_dtype)),
                                tolerance(dtype), dtype});
                }
}

TEST(Conformance, MoeRoutesByEveryRule) {
    Generator random(12);
    const Shape s{9, 16, 4, 64, 48, 32};
    for (const RouterScore score : {RouterScore::sigmoid, RouterScore::softmax})
        for (const bool normalize : {true, false})
            for (const int64_t groups : {1, 4, 8}) {
                Layer layer(WeightFormat::nvfp4, WeightFormat::f32, s, Activation::swiglu, DType::bf16, DType::bf16,
                            random);
                MoeArgs& a = layer.args;
                a.score = score;
                a.normalize = normalize;
                a.routed_scale = 2.5f;
                a.expert_groups = groups;
                a.top_groups = std::max<int64_t>(1, groups / 2);
                a.correction_bias = layer.memory.tensor(DType::f32, {s.experts});
                fill_normal(a.correction_bias, random, 0.3f);
                a.shared_gate = layer.memory.weight(WeightFormat::bf16, 1, s.width, random, 0.1f);
                fill_normal(a.y, random);
                a.residual = a.y;
                check_rows(kMoe, layer.memory, a,
                           {fmt::format("score {} normalize {} groups {}", static_cast<int>(score), normalize, groups),
                            numeric::kBf16Output});
            }
}

TEST(Conformance, MoeTakesTheLowerIndexOfEquals) {
    Generator random(13);
    const Shape s{5, 12, 3, 32, 16, 0};
    Layer layer(WeightFormat::bf16, WeightFormat::f32, s, Activation::relu2, DType::bf16, DType::bf16, random);
    // All rows of the router alike: every token takes experts 0, 1, 2.
    auto* router = reinterpret_cast<float*>(layer.args.router.data);
    for (int64_t e = 1; e < s.experts; ++e) std::copy_n(router, s.width, router + e * s.width);
    const auto expected = check_rows(kMoe, layer.memory, layer.args, {"equal experts", numeric::kBf16Output});
    EXPECT_EQ(expected.back(), (std::vector<float>{10, 10, 10, 5, 5, 5, 5, 5, 5, 5, 5, 5}));
}

TEST(Conformance, MoeGivesATokenTheSameBitsInEveryBatch) {
    Generator random(14);
    for (const Shape& s : {Shape{27, 12, 4, 96, 48, 80}, {300, 12, 4, 128, 192, 320}})
        for (const WeightFormat format : {WeightFormat::nvfp4, WeightFormat::fp8, WeightFormat::bf16})
            for (const DType dtype : {DType::bf16, DType::f32}) {
                Layer layer(format, WeightFormat::f32, s, Activation::relu2, dtype, dtype, random);
                layer.args.expert_tokens = {};
                for (const int64_t tokens : {1, 2, 5, 13, 26, 45, 250}) {
                    if (tokens >= s.tokens || (s.tokens > 100 && dtype == DType::f32)) continue;
                    const int64_t first = s.tokens - tokens;
                    MoeArgs part = layer.args;
                    part.x = layer.args.x.rows(first, s.tokens);
                    part.y = layer.memory.tensor(dtype, {tokens, s.width});
                    check_independence(kMoe, layer.memory, layer.args, part,
                                       describe(format, s, Activation::relu2, dtype) + fmt::format(" last {}", tokens),
                                       dtype, [&](const std::vector<std::vector<float>>& whole) {
                                           return std::vector<float>(whole.front().begin() + first * s.width,
                                                                     whole.front().end());
                                       });
                }
            }
}

TEST(Conformance, ActivateRowsAgreeWithTheReference) {
    Generator random(15);
    for (const DType dtype : {DType::bf16, DType::f32})
        for (const Activation activation : {Activation::relu2, Activation::swiglu, Activation::gelu_tanh_glu})
            for (const int64_t width : {1, 7, 16, 100, 1856}) {
                Memory memory;
                ActivateArgs a{.activation = activation};
                a.x = memory.tensor(dtype, {5, width * (is_gated(activation) ? 2 : 1)}, 7);
                a.y = memory.tensor(dtype, {5, width}, 3);
                fill_normal(a.x, random, 4.0f);
                put(a.x.row(1), dtype, 0, -200.0f);
                put(a.x.row(2), dtype, 0, 200.0f);
                put(a.x.row(3), dtype, 0, std::numeric_limits<float>::quiet_NaN());
                put(a.x.row(4), dtype, 0, -std::numeric_limits<float>::infinity());
                check_rows(
                    kActivate, memory, a,
                    {fmt::format("activation {} F={} {}", static_cast<int>(activation), width, numeric::name(dtype)),
                     tolerance(dtype), dtype});
            }
}

}  // namespace
}  // namespace nibble::ops
