// The plan never over-commits, whatever is asked for and whatever the readings say.
#include "cli/memory_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace nibble::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr uint64_t kMiB = uint64_t{1} << 20, kGiB = uint64_t{1} << 30;

PlanInput small_model() {
    return {.memory = {.total_bytes = 16 << 30ll, .available_bytes = 0},
            .host_memory = true,
            .device_name = "CPU",
            .weight_bytes = 256 * kMiB,
            .page_bytes = 360 << 10,
            .page_size = 16,
            .slot_bytes = 0,
            .model_context = 8192,
            .step_bytes = [](uint64_t sequences, uint64_t) { return 40 * kMiB + sequences * 200'000; },
            .graph_bytes = {},
            .budget_bytes = {},
            .share_bytes = {},
            .kv_bytes = {},
            .context = {},
            .sequences = {},
            .default_sequences = 64};
}

PlanInput with_memory(uint64_t total, uint64_t available) {
    PlanInput input = small_model();
    input.memory = {static_cast<int64_t>(total), static_cast<int64_t>(available)};
    return input;
}

TEST(Plan, GivesTheWholeContextWhereItFits) {
    const auto plan = make_plan(with_memory(24 * kGiB, 20 * kGiB));
    ASSERT_TRUE(plan);
    EXPECT_EQ(plan->context, 8192);
    EXPECT_EQ(plan->sequences, 64);
    EXPECT_GE(plan->pages * 16, 8192);
    EXPECT_LE(plan->total_bytes, plan->budget_bytes);
}

TEST(Plan, ShortensTheContextThatWasNotAskedFor) {
    const auto plan = make_plan(with_memory(4 * kGiB, kGiB + 400 * kMiB));
    ASSERT_TRUE(plan);
    EXPECT_LT(plan->context, 8192);
    EXPECT_GE(plan->context, 256);
    EXPECT_GE(plan->pages * 16, plan->context);
}

TEST(Plan, RefusesTheContextThatWasAskedForLineByLine) {
    PlanInput input = with_memory(4 * kGiB, kGiB + 400 * kMiB);
    input.context = 8192;
    const auto plan = make_plan(input);
    ASSERT_FALSE(plan);
    EXPECT_EQ(plan.error().code, ErrorCode::does_not_fit);
    EXPECT_THAT(plan.error().message, HasSubstr("weights"));
    EXPECT_THAT(plan.error().message, HasSubstr("keys and values"));
    EXPECT_THAT(plan.error().message, HasSubstr("512 pages of 16 tokens"));
    EXPECT_THAT(plan.error().message, HasSubstr("together"));
}

TEST(Plan, TheGraphsOfAGpuHaveALineAndTakeTheirPartOfTheBudget) {
    PlanInput input = with_memory(8 * kGiB, 2 * kGiB);
    const auto without = make_plan(input);
    input.graph_bytes = [](uint64_t sequences, uint64_t) { return sequences * kMiB; };
    const auto with = make_plan(input);
    ASSERT_TRUE(without && with);
    EXPECT_THAT(describe(*without), Not(HasSubstr("graphs")));
    EXPECT_THAT(describe(*with), HasSubstr("graphs"));
    EXPECT_LE(with->total_bytes, with->budget_bytes);
    EXPECT_EQ(with->lines[3].bytes, with->sequences * kMiB);
    input.budget_bytes = without->total_bytes;
    input.sequences = static_cast<uint64_t>(without->sequences);
    const auto tight = make_plan(input);
    ASSERT_TRUE(tight);
    EXPECT_LT(tight->pages, without->pages);
}

TEST(Plan, TakesFewerSequencesRatherThanNone) {
    PlanInput input = with_memory(8 * kGiB, 2 * kGiB);
    input.slot_bytes = 48 * kMiB;
    const auto plan = make_plan(input);
    ASSERT_TRUE(plan);
    EXPECT_LT(plan->sequences, 64);
    EXPECT_EQ(plan->slots, plan->sequences);
    input.sequences = 64;
    ASSERT_FALSE(make_plan(input));
}

TEST(Plan, AModelWithoutAttentionHasItsWholeContextInItsSlots) {
    PlanInput input = with_memory(24 * kGiB, 20 * kGiB);
    input.page_bytes = 0;
    input.slot_bytes = 4 * kMiB;
    const auto plan = make_plan(input);
    ASSERT_TRUE(plan);
    EXPECT_EQ(plan->pages, 0);
    EXPECT_EQ(plan->context, 8192);
}

TEST(Plan, AContextBeyondTheModelIsAMistakeOfUsage) {
    PlanInput input = with_memory(24 * kGiB, 20 * kGiB);
    input.context = 8193;
    const auto plan = make_plan(input);
    ASSERT_FALSE(plan);
    EXPECT_EQ(plan.error().code, ErrorCode::usage);
    EXPECT_THAT(plan.error().message, HasSubstr("8192"));
}

TEST(Plan, RefusesReadingsThatContradictThemselvesWithBoth) {
    for (const auto& [total, available] : std::initializer_list<std::pair<int64_t, int64_t>>{
             {16, 17},
             {16, -1},
             {0, 0},
             {-5, 3},
             {std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()}}) {
        PlanInput input = small_model();
        input.memory = {total, available};
        const auto plan = make_plan(input);
        ASSERT_FALSE(plan) << total << ' ' << available;
        EXPECT_EQ(plan.error().code, ErrorCode::device_unusable);
        EXPECT_THAT(plan.error().message, HasSubstr(std::to_string(total)));
        EXPECT_THAT(plan.error().message, HasSubstr(std::to_string(available)));
    }
}

TEST(Plan, TheCacheAskedForIsHadWholeOrRefused) {
    PlanInput input = with_memory(24 * kGiB, 20 * kGiB);
    input.kv_bytes = kGiB;
    auto plan = make_plan(input);
    ASSERT_TRUE(plan);
    EXPECT_EQ(plan->pages, static_cast<int64_t>(kGiB / input.page_bytes));
    input.kv_bytes = 30 * kGiB;
    input.sequences = 1024;
    plan = make_plan(input);
    ASSERT_FALSE(plan);
    EXPECT_EQ(plan.error().code, ErrorCode::does_not_fit);
    input.kv_bytes = kMiB;  // not even the least context
    plan = make_plan(input);
    ASSERT_FALSE(plan);
    EXPECT_THAT(plan.error().message, HasSubstr("raise it"));
}

TEST(Plan, AShareOfTheDeviceIsLoweredToWhatThereIs) {
    PlanInput input = with_memory(24 * kGiB, 8 * kGiB);
    input.share_bytes = 20 * kGiB;
    auto plan = make_plan(input);
    ASSERT_TRUE(plan);
    EXPECT_LT(plan->budget_bytes, 8 * kGiB);
    input.share_bytes = 2 * kGiB;
    plan = make_plan(input);
    ASSERT_TRUE(plan);
    EXPECT_EQ(plan->budget_bytes, 2 * kGiB);
}

// Sizes of every magnitude, up to those that overflow.
uint64_t any_size(std::mt19937_64& random) {
    const uint64_t value = random();
    return value >> (random() % 64);
}

TEST(Plan, NeverOverCommitsWhateverTheNumbers) {
    std::mt19937_64 random(20260101);
    int planned = 0;
    for (int i = 0; i < 200'000; ++i) {
        PlanInput input = small_model();
        input.memory = {static_cast<int64_t>(any_size(random)), static_cast<int64_t>(any_size(random))};
        if (random() % 4 == 0) input.memory.available_bytes -= 30ll << 30;
        input.host_memory = random() % 2 == 0;
        input.weight_bytes = any_size(random) >> (random() % 32);
        input.page_bytes = random() % 8 == 0 ? 0 : any_size(random) >> 16;
        input.page_size = 1 + random() % 64;
        input.slot_bytes = random() % 2 == 0 ? 0 : any_size(random) >> 16;
        input.model_context = 1 + (any_size(random) >> 1);
        const uint64_t each = any_size(random) >> 24;
        input.step_bytes = [each](uint64_t sequences, uint64_t context) {
            uint64_t bytes;
            return __builtin_mul_overflow(each, sequences, &bytes) || __builtin_add_overflow(bytes, context, &bytes)
                       ? std::numeric_limits<uint64_t>::max()
                       : bytes;
        };
        if (random() % 3 == 0) input.budget_bytes = any_size(random);
        if (random() % 3 == 0) input.share_bytes = any_size(random);
        if (random() % 3 == 0) input.kv_bytes = any_size(random);
        if (random() % 3 == 0) input.context = 1 + any_size(random) % input.model_context;
        if (random() % 3 == 0) input.sequences = 1 + any_size(random);
        const auto plan = make_plan(input);
        if (!plan) continue;
        ++planned;
        ASSERT_LE(plan->total_bytes, plan->budget_bytes);
        ASSERT_LE(plan->budget_bytes, static_cast<uint64_t>(input.memory.available_bytes));
        unsigned __int128 sum = 0;
        for (const Plan::Line& line : plan->lines) sum += line.bytes;
        ASSERT_TRUE(sum == plan->total_bytes);
        ASSERT_GE(plan->sequences, 1);
        ASSERT_GE(plan->context, 1);
        if (input.page_bytes > 0) {
            ASSERT_GE(static_cast<unsigned __int128>(plan->pages) * input.page_size,
                      static_cast<unsigned __int128>(plan->context));
        }
        if (input.context) {
            ASSERT_EQ(static_cast<uint64_t>(plan->context), *input.context);
        }
    }
    EXPECT_GT(planned, 1000);
}

}  // namespace
}  // namespace nibble::cli
