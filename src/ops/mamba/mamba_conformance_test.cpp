#include "ops/conformance.h"
#include "ops/mamba/mamba.h"

#include <algorithm>
#include <numeric>

namespace nibble::ops {

void visit(MambaArgs& a, const conformance::Visitor& visitor) {
    visitor(a.out, true);
    visitor(a.conv_state, true);
    visitor(a.ssm_state, true);
    visitor(a.u);
    visitor(a.conv_weight);
    visitor(a.conv_bias);
    visitor(a.a_log);
    visitor(a.d);
    visitor(a.dt_bias);
    visitor(a.norm_weight);
    visitor(a.sequences.row_start);
    visitor(a.sequences.context_length);
    visitor(a.sequences.slot);
}

namespace {

using namespace conformance;

struct Shape {
    int64_t heads, head_dim, groups, state, kernel;
};
struct Part {
    int64_t rows, context;
};

struct Problem {
    Memory memory;
    MambaArgs args;

    Problem(const std::vector<Part>& parts, Shape shape, DType dtype, DType kept, Generator& random, bool bias = true) {
        int64_t tokens = 0;
        for (const Part& p : parts) tokens += p.rows;
        const int64_t inner = shape.heads * shape.head_dim, channels = inner + 2 * shape.groups * shape.state;
        const int64_t count = static_cast<int64_t>(parts.size()), slots = count + 2;
        MambaArgs& a = args;
        a.heads = shape.heads, a.head_dim = shape.head_dim, a.groups = shape.groups, a.state_size = shape.state;
        a.conv_kernel = shape.kernel;
        a.u = memory.tensor(dtype, {tokens, inner + channels + shape.heads}, 5);
        a.out = memory.tensor(dtype, {tokens, inner}, 2);
        fill_normal(a.u, random);
        a.conv_weight = memory.tensor(DType::f32, {channels, shape.kernel});
        fill_normal(a.conv_weight, random, 0.5f);
        if (bias) {
            a.conv_bias = memory.tensor(DType::f32, {channels});
            fill_normal(a.conv_bias, random, 0.2f);
        }
        for (Tensor* t : {&a.a_log, &a.d, &a.dt_bias}) {
            *t = memory.tensor(DType::f32, {shape.heads});
            fill_normal(*t, random);
        }
        a.norm_weight = memory.tensor(DType::f32, {inner});
        fill_normal(a.norm_weight, random);
        a.conv_state = memory.tensor(kept, {slots, channels, shape.kernel - 1});
        a.ssm_state = memory.tensor(DType::f32, {slots, shape.heads, shape.head_dim, shape.state});
        fill_normal(a.conv_state, random);
        fill_normal(a.ssm_state, random);

        Sequences& s = a.sequences;
        s = {.count = count, .tokens = tokens};
        s.row_start = memory.tensor(DType::i32, {count + 1});
        s.context_length = memory.tensor(DType::i32, {count});
        s.slot = memory.tensor(DType::i32, {count});
        std::vector<int32_t> slot(static_cast<size_t>(slots));
        std::iota(slot.begin(), slot.end(), 0);
        std::shuffle(slot.begin(), slot.end(), random);
        int32_t row = 0;
        for (int64_t b = 0; b < count; ++b) {
            const Part& p = parts[static_cast<size_t>(b)];
            s.row_start.as<int32_t>()[b] = row;
            s.context_length.as<int32_t>()[b] = static_cast<int32_t>(p.context);
            s.slot.as<int32_t>()[b] = slot[static_cast<size_t>(b)];
            row += static_cast<int32_t>(p.rows);
            s.max_rows = std::max(s.max_rows, p.rows);
            s.max_context = std::max(s.max_context, p.context);
            s.total_context += p.context;
        }
        s.row_start.as<int32_t>()[count] = row;
    }
};

std::string describe(const std::vector<Part>& parts, Shape s, DType dtype, DType kept) {
    std::string text = fmt::format("nh={} P={} G={} N={} Kc={} {} conv {}", s.heads, s.head_dim, s.groups, s.state,
                                   s.kernel, numeric::name(dtype), numeric::name(kept));
    for (const Part& p : parts) text += fmt::format(" {}/{}", p.rows, p.context);
    return text;
}

numeric::Tolerance tolerance(DType dtype) {
    return dtype == DType::f32 ? numeric::kFloat32 : numeric::kBf16Output;
}

constexpr Shape kShapes[] = {{8, 16, 2, 128, 4}, {4, 24, 1, 16, 4}, {6, 5, 3, 20, 2},
                             {2, 64, 2, 64, 3},  {4, 8, 4, 32, 5},  {1, 3, 1, 256, 4}};

TEST(Conformance, MambaRowsAgreeWithTheReference) {
    Generator random(31);
    const std::vector<Part> batches[] = {{{1, 1}}, {{1, 9}}, {{3, 3}, {1, 40}, {2, 70}}, {{40, 40}, {17, 30}}};
    for (const Shape& shape : kShapes)
        for (const auto& parts : batches)
            for (const auto& [dtype, kept] :
                 {std::pair(DType::bf16, DType::bf16), {DType::f32, DType::f32}, {DType::f32, DType::bf16}}) {
                Problem p(parts, shape, dtype, kept, random, shape.kernel != 3);
                check_rows(kMamba, p.memory, p.args, {describe(parts, shape, dtype, kept), tolerance(dtype), dtype});
            }
}

TEST(Conformance, MambaClampsTheStepAsTold) {
    Generator random(32);
    const std::vector<Part> parts = {{6, 6}};
    Problem p(parts, kShapes[0], DType::f32, DType::f32, random);
    p.args.dt_min = 0.5f;
    p.args.dt_max = 0.9f;
    check_rows(kMamba, p.memory, p.args, {"dt in [0.5, 0.9]", numeric::kFloat32, DType::f32});
}

// One head, P = 2, N = 3, two tokens from zero, worked out by hand; the gate is open (silu(z) = 1) and the norm is
// undone.
TEST(Conformance, MambaStateFollowsTheWorkedExample) {
    Generator random(33);
    const Shape shape{1, 2, 1, 3, 2};
    const std::vector<Part> parts = {{2, 2}};
    Problem p(parts, shape, DType::f32, DType::f32, random, false);
    MambaArgs& a = p.args;
    // The convolution passes its newest input on, before silu: inputs are silu's inverse of the example's values.
    fill(a.conv_weight, [i = 0]() mutable { return i++ % 2 == 0 ? 0.0f : 1.0f; });
    const auto inverse = [](double v) {  // w with silu(w) = v, on the branch right of silu's minimum
        double low = -1.2784645, high = 50;
        for (int i = 0; i < 200; ++i) {
            const double middle = (low + high) / 2;
            (middle / (1 + std::exp(-middle)) < v ? low : high) = middle;
        }
        return static_cast<float>(low);
    };
    // silu has no value below -0.278; the example's are scaled into its range: B by 1/4, C by 1/4, x by 1/8.
    const double x[2][2] = {{1, -2}, {.5, .75}}, b[2][3] = {{.5, -1, .25}, {-.25, .5, 1}},
                 c[2][3] = {{1, .5, -.5}, {.2, -.4, .6}}, dt[2] = {.3, 1.5};
    for (int t = 0; t < 2; ++t) {
        auto* u = a.u.row_as<float>(t);
        u[0] = u[1] = 1.0f;
        for (int i = 0; i < 2; ++i) u[2 + i] = inverse(x[t][i] / 8);
        for (int i = 0; i < 3; ++i) u[4 + i] = inverse(b[t][i] / 4), u[7 + i] = inverse(c[t][i] / 4);
        u[10] = static_cast<float>(dt[t]);
    }
    a.a_log.as<float>()[0] = 0.5f;
    a.dt_bias.as<float>()[0] = -1.0f;
    a.d.as<float>()[0] = 0.25f;
    const auto outputs = check_rows(kMamba, p.memory, a, {"worked example", numeric::kFloat32, DType::f32});
    const float state[] = {-.081301417f, .162602834f, .507267595f, -.263555847f, .527111693f, .690099532f};
    const int32_t slot = a.sequences.slot.as<int32_t>()[0];
    for (int i = 0; i < 6; ++i) EXPECT_NEAR(outputs[2][static_cast<size_t>(slot * 6 + i)] * 32, state[i], 1e-5f);
}

TEST(Conformance, MambaGivesASequenceTheSameBitsHoweverItIsCut) {
    Generator random(34);
    const Shape shape = kShapes[0];
    for (const DType dtype : {DType::bf16, DType::f32}) {
        // Longer than a wave, and not a multiple of anything.
        const std::vector<Part> parts = {{301, 301}};
        Problem p(parts, shape, dtype, DType::bf16, random);
        const device::Device& cpu = devices().front();
        for (const Row<MambaArgs>& row : kMamba.rows) {
            if (!arch_matches(row.arch, cpu)) continue;
            Copy whole(p.memory, cpu, true);
            run_row(kMamba, row, whole.move(p.args), cpu, &crew(2), dtype);
            Copy pieces(p.memory, cpu, true);
            const MambaArgs moved = pieces.move(p.args);
            for (int64_t begin = 0, rows = 1; begin < 301; begin += rows, rows = std::min(rows * 3, 301 - begin)) {
                MambaArgs part = moved;
                part.u = moved.u.rows(begin, begin + rows);
                part.out = moved.out.rows(begin, begin + rows);
                int32_t row_start[] = {0, static_cast<int32_t>(rows)}, length = static_cast<int32_t>(begin + rows);
                part.sequences.tokens = part.sequences.max_rows = rows;
                part.sequences.row_start = Tensor(row_start, DType::i32, {2});
                part.sequences.context_length = Tensor(&length, DType::i32, {1});
                run_row(kMamba, row, part, cpu, &crew(2), dtype);
            }
            EXPECT_EQ(whole.output_bytes(), pieces.output_bytes()) << row.name;
        }
    }
}

}  // namespace
}  // namespace nibble::ops
