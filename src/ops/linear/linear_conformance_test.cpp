#include "ops/conformance.h"
#include "ops/linear/linear.h"

namespace nibble::ops {

void visit(LinearArgs& a, const conformance::Visitor& visitor) {
    visitor(a.x);
    visitor(a.weight);
    visitor(a.bias);
    visitor(a.residual);
    visitor(a.norm_weight);
    visitor(a.y, true);
}

namespace {

using namespace conformance;

constexpr WeightFormat kFormats[] = {WeightFormat::f32, WeightFormat::bf16, WeightFormat::fp8, WeightFormat::nvfp4};

struct Shape {
    int64_t tokens, n, k;
};

struct Problem {
    Memory memory;
    LinearArgs args;

    Problem(WeightFormat format, Shape s, DType activation, DType out, Generator& random, int64_t gap = 0) {
        args.x = memory.tensor(activation, {s.tokens, s.k}, gap);
        fill_normal(args.x, random);
        args.weight = memory.weight(format, s.n, s.k, random, 0.05f, gap > 0);
        args.y = memory.tensor(out, {s.tokens, s.n}, gap);
    }
};

std::string describe(WeightFormat format, Shape s, DType activation, DType out) {
    return fmt::format("{} T={} N={} K={} {} -> {}", name(format), s.tokens, s.n, s.k, numeric::name(activation),
                       numeric::name(out));
}

numeric::Tolerance tolerance(DType out) {
    return out == DType::f32 ? numeric::kFloat32 : numeric::kBf16Output;
}

TEST(Conformance, LinearRowsAgreeWithTheReference) {
    Generator random(1);
    const Shape shapes[] = {{1, 16, 64},     {1, 1, 16},      {2, 17, 48},     {3, 40, 80},   {4, 33, 1008},
                            {5, 48, 576},    {7, 100, 128},   {11, 112, 272},  {16, 64, 192}, {33, 272, 112},
                            {100, 144, 640}, {20, 400, 2688}, {700, 1100, 192}};
    for (const WeightFormat format : kFormats)
        for (const DType activation : {DType::bf16, DType::f32})
            for (Shape s : shapes)
                for (const DType out : {DType::f32, activation}) {
                    // Odd K where the format has no groups.
                    if (format != WeightFormat::nvfp4) s.k -= s.tokens % 4;
                    Problem p(format, s, activation, out, random, s.tokens % 3);
                    check_rows(kLinear, p.memory, p.args,
                               {describe(format, s, activation, out), tolerance(out), activation, {2, 3}});
                }
}

TEST(Conformance, LinearAddsBiasAndResidualInTheContractsOrder) {
    Generator random(2);
    for (const WeightFormat format : kFormats)
        for (const DType activation : {DType::bf16, DType::f32})
            for (const auto& [tokens, out] :
                 {std::pair{1, activation}, {3, activation}, {13, activation}, {5, DType::f32}}) {
                const Shape s{tokens, 88, 320};
                Problem p(format, s, activation, out, random, 5);
                p.args.bias = p.memory.tensor(DType::f32, {s.n});
                fill_normal(p.args.bias, random);
                fill_normal(p.args.y, random);
                p.args.residual = p.args.y;  // in place
                p.args.norm_weight = p.memory.tensor(activation, {s.k});
                fill_normal(p.args.norm_weight, random);
                check_rows(
                    kLinear, p.memory, p.args,
                    {describe(format, s, activation, out) + " bias, residual, norm", tolerance(out), activation});
            }
}

TEST(Conformance, LinearSurvivesEveryMagnitude) {
    Generator random(3);
    for (const WeightFormat format : kFormats)
        for (const DType activation : {DType::bf16, DType::f32}) {
            const Shape s{9, 64, 448};
            Problem p(format, s, activation, DType::f32, random);
            fill_adversarial(p.args.x, random);
            // Row by row: the largest would hide the others.
            for (int64_t t = 0; t < s.tokens; ++t) {
                LinearArgs one = p.args;
                one.x = p.args.x.rows(t, t + 1);
                one.y = p.args.y.rows(t, t + 1);
                check_rows(
                    kLinear, p.memory, one,
                    {describe(format, s, activation, DType::f32) + " adversarial", numeric::kFloat32, activation});
            }
        }
}

TEST(Conformance, LinearPassesOnWhatIsNotFinite) {
    Generator random(4);
    for (const WeightFormat format : kFormats)
        for (const DType activation : {DType::bf16, DType::f32}) {
            const Shape s{3, 32, 128};
            Problem p(format, s, activation, DType::f32, random);
            put(p.args.x.row(0), activation, 77, std::numeric_limits<float>::quiet_NaN());
            put(p.args.x.row(2), activation, 5, std::numeric_limits<float>::infinity());
            // A damaged weight spoils its row, and no other.
            if (format == WeightFormat::nvfp4) p.args.weight.data[s.n * s.k / 2 + 9 * s.k / 16 + 3] = std::byte{0x7F};
            if (format == WeightFormat::fp8) p.args.weight.data[9 * s.k + 50] = std::byte{0xFF};
            check_rows(kLinear, p.memory, p.args,
                       {describe(format, s, activation, DType::f32) + " not finite", numeric::kFloat32, activation});
        }
}

TEST(Conformance, LinearGivesATokenTheSameBitsInEveryBatch) {
    Generator random(5);
    for (const WeightFormat format : kFormats)
        for (const DType activation : {DType::bf16, DType::f32}) {
            for (const Shape& s : {Shape{29, 80, 656}, {75, 48, 4096}}) {
                Problem p(format, s, activation, DType::f32, random);
                for (const int64_t tokens : {1, 2, 3, 4, 6, 8, 10, 12, 16, 25, 40}) {
                    if (tokens >= s.tokens || (s.tokens > 30 && (tokens % 8 != 0 || activation == DType::f32)))
                        continue;
                    LinearArgs part = p.args;
                    const int64_t first = s.tokens - tokens;
                    part.x = p.args.x.rows(first, s.tokens);
                    part.y = p.memory.tensor(DType::f32, {tokens, s.n});
                    check_independence(kLinear, p.memory, p.args, part,
                                       describe(format, s, activation, DType::f32) + fmt::format(" last {}", tokens),
                                       activation, [&](const std::vector<std::vector<float>>& whole) {
                                           return std::vector<float>(whole.front().begin() + first * s.n,
                                                                     whole.front().end());
                                       });
                }
            }
        }
}

TEST(Conformance, LinearOfNoTokensIsNothing) {
    Memory memory;
    Generator random(6);
    LinearArgs a;
    a.weight = memory.weight(WeightFormat::bf16, 16, 32, random);
    a.x = Tensor(nullptr, DType::bf16, {0, 32});
    a.y = Tensor(nullptr, DType::bf16, {0, 16});
    device::Arena arena;
    OpContext context{.device = &devices().front(), .arena = &arena};
    linear(context, a);
}

}  // namespace
}  // namespace nibble::ops
