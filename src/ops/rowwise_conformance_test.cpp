// Conformance of the ops that treat every row alone: rms_norm, rope, embed, gather_rows.
#include "ops/conformance.h"
#include "ops/embed/embed.h"
#include "ops/norm/norm.h"
#include "ops/rope/rope.h"

namespace nibble::ops {

void visit(RmsNormArgs& a, const conformance::Visitor& visitor) {
    visitor(a.x);
    visitor(a.weight);
    visitor(a.y, true);
    visitor(a.residual, true);
}

void visit(RopeArgs& a, const conformance::Visitor& visitor) {
    visitor(a.positions);
    visitor(a.inv_freq);
    visitor(a.x, true);
}

void visit(EmbedArgs& a, const conformance::Visitor& visitor) {
    visitor(a.tokens);
    visitor(a.table);
    visitor(a.y, true);
}

void visit(GatherRowsArgs& a, const conformance::Visitor& visitor) {
    visitor(a.rows);
    visitor(a.x);
    visitor(a.y, true);
}

namespace {

using namespace conformance;

numeric::Tolerance tolerance(DType dtype) {
    return dtype == DType::f32 ? numeric::kFloat32 : numeric::kBf16Output;
}

TEST(Conformance, RmsNormRowsAgreeWithTheReference) {
    Generator random(41);
    for (const auto& [dtype, y_dtype] :
         {std::pair{DType::bf16, DType::bf16}, {DType::f32, DType::f32}, {DType::f32, DType::bf16}})
        for (const DType weight : {DType::bf16, DType::f32})
            for (const int64_t width : {1, 8, 65, 576, 2688})
                for (const int64_t tokens : {1, 3, 60})
                    for (const bool residual : {false, true}) {
                        Memory memory;
                        RmsNormArgs a{.unit_offset = width % 2 == 0};
                        a.x = memory.tensor(dtype, {tokens, width}, 4);
                        a.weight = memory.tensor(weight, {width});
                        a.y = residual || y_dtype != dtype ? memory.tensor(y_dtype, {tokens, width}, 1) : a.x;
                        fill_adversarial(a.x, random);
                        fill_normal(a.weight, random);
                        if (residual) {
                            a.residual = memory.tensor(dtype, {tokens, width}, 2);
                            fill_normal(a.residual, random);
                        }
                        check_rows(
                            kRmsNorm, memory, a,
                            {fmt::format("T={} H={} {} to {} weight {} residual {}", tokens, width,
                                         numeric::name(dtype), numeric::name(y_dtype), numeric::name(weight), residual),
                             tolerance(y_dtype), dtype});
                    }
}

TEST(Conformance, RopeRowsAgreeWithTheReference) {
    Generator random(42);
    for (const DType dtype : {DType::bf16, DType::f32})
        for (const auto& [heads, dim, rotated] :
             {std::tuple<int64_t, int64_t, int64_t>{1, 2, 2}, {9, 64, 64}, {4, 128, 128}, {3, 80, 20}, {2, 256, 256}})
            for (const int64_t tokens : {1, 5, 300}) {
                Memory memory;
                RopeArgs a{.heads = heads, .head_dim = dim, .scale = tokens == 5 ? 1.25f : 1.0f};
                a.x = memory.tensor(dtype, {tokens, heads * dim}, 6);
                fill_normal(a.x, random);
                a.inv_freq = memory.tensor(DType::f32, {rotated / 2});
                fill(a.inv_freq, [&, i = 0]() mutable {
                    return static_cast<float>(std::pow(1e4, -2.0 * i++ / static_cast<double>(rotated)));
                });
                a.positions = memory.tensor(DType::i32, {tokens});
                std::vector<int32_t> positions;
                for (int64_t t = 0; t < tokens; ++t)
                    positions.push_back(t % 4 == 3 ? static_cast<int32_t>(random() % 1048576)
                                                   : static_cast<int32_t>(t * 37));
                fill_integers(a.positions, positions);
                check_rows(
                    kRope, memory, a,
                    {fmt::format("T={} heads={} D={} R={} {}", tokens, heads, dim, rotated, numeric::name(dtype)),
                     tolerance(dtype), dtype});
            }
}

TEST(Conformance, EmbedAndGatherRowsAgreeWithTheReference) {
    Generator random(43);
    for (const DType table : {DType::bf16, DType::f32})
        for (const DType out : {DType::bf16, DType::f32})
            for (const int64_t width : {1, 20, 576})
                for (const int64_t tokens : {1, 7, 100}) {
                    Memory memory;
                    std::vector<int32_t> ids;
                    for (int64_t t = 0; t < tokens; ++t) ids.push_back(static_cast<int32_t>(random() % 50));
                    EmbedArgs a{.scale = tokens == 7 ? 22.6f : 1.0f};
                    a.tokens = memory.tensor(DType::i32, {tokens});
                    fill_integers(a.tokens, ids);
                    a.table = memory.tensor(table, {50, width});
                    fill_normal(a.table, random);
                    a.y = memory.tensor(out, {tokens, width}, 3);
                    const std::string name =
                        fmt::format("T={} H={} {} -> {}", tokens, width, numeric::name(table), numeric::name(out));
                    check_rows(kEmbed, memory, a, {name, numeric::kExact});

                    GatherRowsArgs g{.x = a.table, .rows = a.tokens};
                    g.y = memory.tensor(table, {tokens, width}, 2);
                    check_rows(kGatherRows, memory, g, {name, numeric::kExact});
                }
}

}  // namespace
}  // namespace nibble::ops
