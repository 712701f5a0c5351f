// Steps find their part by op, role and block, whatever the modules are called.
#include "cli/program_parts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nibble::cli {
namespace {

using ops::ProgramStep;
using ops::WeightFormat;
using ops::WeightRead;
using Role = WeightRead::Role;
using testing::ElementsAre;

ProgramStep linear(const std::string& module, int64_t n, int64_t k, WeightFormat format = WeightFormat::bf16) {
    const int64_t bytes = format == WeightFormat::nvfp4 ? n * k * 9 / 16 : n * k * 2;
    return {.op = "linear",
            .module = module,
            .row = "some_row",
            .cost = {.weight_bytes = bytes, .operations = 2.0 * static_cast<double>(n * k)},
            .weights = {{.module = module, .format = format, .n = n, .k = k, .stored_bytes = bytes}}};
}

ProgramStep plain(const std::string& op, const std::string& module, ops::Cost cost = {}) {
    return {.op = op, .module = module, .row = "some_row", .cost = cost};
}

// One of each, in the order of a forward.
ops::Program program() {
    ops::Program program;
    program.steps = {plain("embed", "m.embed", {.weight_bytes = 8}),
                     linear("m.0.mix.in", 4, 16),
                     plain("mamba", "m.0.mix", {.weight_bytes = 3, .state_read_bytes = 20, .state_written_bytes = 10}),
                     linear("m.1.self.q+k", 8, 16, WeightFormat::nvfp4),
                     plain("rope", "m.1.self"),
                     plain("attention", "m.1.self", {.kv_read_bytes = 7, .kv_written_bytes = 2}),
                     linear("m.1.mlp.up", 2, 16)};
    ProgramStep moe =
        plain("moe", "m.2.ff", {.weight_bytes = 100 + 40 + 6 + 5, .operations = 1000, .distinct_experts = 3});
    moe.weights = {{.role = Role::router,
                    .module = "m.2.ff.gate",
                    .format = WeightFormat::f32,
                    .n = 5,
                    .k = 5,
                    .stored_bytes = 100},
                   {.role = Role::shared_expert, .module = "m.2.ff.own.up", .n = 4, .k = 5, .stored_bytes = 40},
                   {.role = Role::routed_experts,
                    .module = "m.2.ff.experts.up",
                    .n = 1,
                    .k = 1,
                    .stored_bytes = 2,
                    .count = 9,
                    .read = 3}};
    program.steps.push_back(std::move(moe));
    program.steps.push_back(linear("m.2.ff.biased.up", 1, 16));
    program.steps.push_back(plain("gather_rows", "anything"));
    program.steps.push_back(linear("m.embed", 32, 16));
    return program;
}

double bytes_of(const ProgramParts& parts, Part wanted) {
    for (const PartCost& part : parts.parts)
        if (part.part == wanted) return part.weight_bytes();
    return 0;
}

TEST(ProgramParts, EveryByteHasItsPart) {
    const ops::Program recorded = program();
    const ProgramParts parts = parts_of(recorded, 1);
    EXPECT_EQ(bytes_of(parts, Part::embedding), 8);
    EXPECT_EQ(bytes_of(parts, Part::mamba), 4 * 16 * 2 + 3);
    EXPECT_EQ(bytes_of(parts, Part::attention), 8 * 16 * 9 / 16);
    EXPECT_EQ(bytes_of(parts, Part::mlp), 2 * 16 * 2);
    EXPECT_EQ(bytes_of(parts, Part::router), 100);
    EXPECT_EQ(bytes_of(parts, Part::shared_expert), 40 + 1 * 16 * 2);  // also one with a block of its own
    EXPECT_EQ(bytes_of(parts, Part::routed_experts), 6 + 5);           // the bias that chooses them is theirs
    EXPECT_EQ(bytes_of(parts, Part::head), 32 * 16 * 2);               // though it is the embedding's matrix
    EXPECT_EQ(parts.total.memory_bytes(), recorded.total().memory_bytes());
    EXPECT_DOUBLE_EQ(parts.total.operations, recorded.total().operations);
    EXPECT_DOUBLE_EQ(parts.distinct_experts, 3);
    double sum = 0;
    for (const Segment& segment : segments_of(parts)) sum += segment.bytes;
    EXPECT_EQ(sum, static_cast<double>(parts.total.memory_bytes()));
}

TEST(ProgramParts, TheMostBytesComeFirst) {
    const ProgramParts parts = parts_of(program(), 1);
    ASSERT_FALSE(parts.parts.empty());
    EXPECT_EQ(parts.parts.front().part, Part::head);
    for (size_t i = 1; i < parts.parts.size(); ++i)
        EXPECT_GE(parts.parts[i - 1].cost.memory_bytes(), parts.parts[i].cost.memory_bytes());
}

TEST(ProgramParts, AnEmptyProgramHasNone) {
    const ProgramParts parts = parts_of({}, 1);
    EXPECT_TRUE(parts.parts.empty());
    EXPECT_EQ(parts.total.memory_bytes(), 0);
}

TEST(ProgramParts, JoinedProjectionsAndExpertsAreSeveralModules) {
    EXPECT_THAT(modules_behind({.module = "a.b.q_proj+k_proj+v_proj"}),
                ElementsAre("a.b.q_proj", "a.b.k_proj", "a.b.v_proj"));
    EXPECT_THAT(modules_behind({.module = "a.experts.up", .count = 3}),
                ElementsAre("a.experts.0.up", "a.experts.1.up", "a.experts.2.up"));
    EXPECT_THAT(modules_behind({.module = "lm_head"}), ElementsAre("lm_head"));
}

}  // namespace
}  // namespace nibble::cli
