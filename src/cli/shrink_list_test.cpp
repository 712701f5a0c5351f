// The list holds what quantize can do, and its sizes are those of the packed weights.
#include "cli/shrink_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nibble::cli {
namespace {

using ops::WeightFormat;

constexpr int64_t kSide = 1024;  // whole tiles of every layout

const device::Device kGpu{.kind = device::DeviceKind::cuda, .compute_capability = 121};

ModuleCost matrix(Part part, WeightFormat format, int64_t k = kSide) {
    ModuleCost line{.part = part, .op = "linear"};
    line.weight = {.format = format, .n = kSide, .k = k};
    line.weight.stored_bytes = ops::packed_bytes(format, ops::preferred_layout(format, kSide, k, kGpu), kSide, k);
    line.cost.weight_bytes = line.weight.stored_bytes;
    return line;
}

ProgramParts parts_with(std::vector<ModuleCost> lines) {
    ProgramParts parts;
    for (const ModuleCost& line : lines) {
        parts.total += line.cost;
        parts.parts.push_back({.part = line.part, .cost = line.cost, .values = 1});
    }
    parts.modules = std::move(lines);
    return parts;
}

std::vector<std::string> flags_of(const std::vector<Shrink>& list) {
    std::vector<std::string> flags;
    for (const Shrink& shrink : list) flags.push_back(shrink.flags);
    return flags;
}

TEST(ShrinkList, SavesWhatPackingSaves) {
    const auto list = shrink_list(parts_with({matrix(Part::head, WeightFormat::bf16)}), {}, kGpu);
    ASSERT_EQ(list.size(), 1u);
    EXPECT_EQ(list[0].what, "head BF16 -> NVFP4");
    EXPECT_EQ(list[0].saved_bytes(), kSide * kSide * (2.0 - 9.0 / 16));
    EXPECT_EQ(list[0].milder_flags, "--head fp8");
    EXPECT_EQ(list[0].milder_saved_bytes, kSide * kSide);
}

TEST(ShrinkList, OffersNothingThatQuantizeRefuses) {
    // quantised already, columns that no group of 16 divides, a part of which some is in another format
    EXPECT_TRUE(shrink_list(parts_with({matrix(Part::head, WeightFormat::nvfp4)}), {}, kGpu).empty());
    EXPECT_TRUE(shrink_list(parts_with({matrix(Part::head, WeightFormat::bf16, kSide + 8)}), {}, kGpu).empty());
    EXPECT_TRUE(
        shrink_list(parts_with({matrix(Part::mamba, WeightFormat::bf16), matrix(Part::mamba, WeightFormat::fp8)}), {},
                    kGpu)
            .empty());
    // leftovers beside NVFP4 can follow it, but not become FP8
    const auto list = shrink_list(
        parts_with({matrix(Part::mamba, WeightFormat::bf16), matrix(Part::mamba, WeightFormat::nvfp4)}), {}, kGpu);
    EXPECT_THAT(flags_of(list), testing::ElementsAre("--mamba nvfp4"));
    EXPECT_EQ(list[0].milder_flags, "");
}

TEST(ShrinkList, TheMostComesFirstAndLittleIsLeftOut) {
    ModuleCost small = matrix(Part::head, WeightFormat::bf16);
    small.weight.n = small.weight.k = 64;
    small.weight.stored_bytes = small.cost.weight_bytes = 64 * 64 * 2;
    const auto list =
        shrink_list(parts_with({small, matrix(Part::attention, WeightFormat::bf16),
                                matrix(Part::mlp, WeightFormat::bf16), matrix(Part::mlp, WeightFormat::bf16)}),
                    {}, kGpu);
    EXPECT_THAT(flags_of(list),
                testing::ElementsAre("--scheme all-nvfp4 --head keep --attention keep", "--attention nvfp4"));
    EXPECT_EQ(flags_at_once(list), "--scheme all-nvfp4");
}

TEST(ShrinkList, CacheAndStateAreListedAsNibbleCanChangeThem) {
    ProgramParts parts;
    parts.total = {.kv_read_bytes = 1000, .state_read_bytes = 600, .state_written_bytes = 600};
    model::StateShape state{
        .recurrent = {{.conv_channels = 1, .conv_columns = 32, .heads = 1, .head_dim = 4, .state_size = 16}},
        .kv_dtype = device::DType::bf16};
    const auto list = shrink_list(parts, state, kGpu);
    ASSERT_EQ(list.size(), 2u);
    EXPECT_THAT(commands_of(list, "m"), testing::ElementsAre("nibble serve m --kv-cache-dtype fp8", ""));
    EXPECT_EQ(list[0].saved_bytes(), 500);
    EXPECT_EQ(list[1].saved_bytes(), 1200 * 0.8 / 2);  // 256 of 320 bytes are the matrix
    state.kv_dtype = device::DType::f8_e4m3;
    EXPECT_EQ(shrink_list(parts, state, kGpu).size(), 1u);
}

TEST(ShrinkList, ACommandTakesWhatTheOneBeforeWrote) {
    const std::vector<Shrink> list = {{.how = Shrink::How::quantize, .flags = "--head nvfp4"},
                                      {.how = Shrink::How::none},
                                      {.how = Shrink::How::quantize, .flags = "--mamba nvfp4"},
                                      {.how = Shrink::How::serve, .flags = "--kv-cache-dtype fp8"}};
    EXPECT_THAT(
        commands_of(list, "nvidia/Nano-3.5@main"),
        testing::ElementsAre("nibble quantize nvidia/Nano-3.5@main OUT1 --head nvfp4", "",
                             "nibble quantize OUT1 OUT2 --mamba nvfp4", "nibble serve OUT2 --kv-cache-dtype fp8"));
}

TEST(ShrinkList, NamesSurviveAShell) {
    EXPECT_EQ(for_shell("org/name-1.5@main"), "org/name-1.5@main");
    EXPECT_EQ(for_shell("my model; rm 'x'"), R"('my model; rm '\''x'\''')");
    EXPECT_EQ(for_shell(""), "''");
    EXPECT_EQ(for_shell("ä"), "'ä'");
}

}  // namespace
}  // namespace nibble::cli
