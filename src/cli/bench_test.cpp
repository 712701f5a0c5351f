// Figures follow from arrivals; what ran by another row is found; unlike records are refused by name.
#include "cli/bench_local.h"
#include "cli/bench_picture.h"
#include "cli/bench_record.h"
#include "cli/bench_timing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace nibble::cli {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using Json = nlohmann::ordered_json;

StreamTimes stream(int first_ms, int step_ms, int tokens) {
    const BenchClock::time_point zero{};
    StreamTimes times{.start = zero, .arrivals = {}, .prompt_tokens = 100, .output_tokens = tokens};
    for (int i = 0; i < tokens; ++i) times.arrivals.push_back(zero + milliseconds(first_ms + i * step_ms));
    return times;
}

TEST(BenchTiming, DecodingIsTimedFromTheMomentWhenAllHaveBegun) {
    const std::vector<StreamTimes> streams = {stream(50, 10, 11), stream(100, 10, 6)};
    const auto round = summarise(streams, 2);
    ASSERT_TRUE(round);
    // from 100 to 150 ms: five tokens of each
    EXPECT_DOUBLE_EQ(round->decode_tokens_per_second, 10 / 0.05);
    EXPECT_DOUBLE_EQ(round->prefill_tokens_per_second, 200 / 0.1);
    EXPECT_DOUBLE_EQ(round->tokens_per_second, 17 / 0.15);
    EXPECT_DOUBLE_EQ(quantile(round->between_ms, 0.5), 10);
    EXPECT_DOUBLE_EQ(quantile(round->first_token_ms, 1), 100);
}

TEST(BenchTiming, PiecesStandForTheTokensThatTheServerCounted) {
    StreamTimes pieces = stream(100, 20, 5);
    pieces.output_tokens = 10;
    pieces.by_id = false;
    const auto round = summarise(std::span(&pieces, 1), 1);
    ASSERT_TRUE(round);
    EXPECT_DOUBLE_EQ(round->decode_tokens_per_second, 8 / 0.08);
    EXPECT_FALSE(round->by_id);
}

TEST(BenchTiming, AStreamWithoutATokenIsAnError) {
    EXPECT_FALSE(summarise({}, 1));
    const std::vector<StreamTimes> streams = {stream(50, 10, 3), stream(0, 0, 0)};
    const auto round = summarise(streams, 2);
    ASSERT_FALSE(round);
    EXPECT_THAT(round.error().message, HasSubstr("request 2"));
}

TEST(RandomPrompt, IsTheSameForASeedAndAnotherForEveryRequest) {
    const auto a = random_prompt(64, 1000, 1, 7);
    EXPECT_EQ(a, random_prompt(64, 1000, 1, 7));
    EXPECT_NE(a, random_prompt(64, 1000, 1, 8));
    EXPECT_NE(a, random_prompt(64, 1000, 2, 7));
    for (const int32_t id : a) EXPECT_TRUE(id >= 0 && id < 1000);
}

TEST(Profile, AnotherRowThanTheRecordedOneIsFound) {
    ops::Program recorded;
    recorded.steps = {{.op = "norm", .module = "a", .row = "simd"}, {.op = "linear", .module = "b", .row = "avx512"}};
    ops::Program ran = recorded;
    EXPECT_THAT(find_other_row(ran, recorded), IsEmpty());
    ran.steps.push_back({.op = "sample", .module = "", .row = "ref"});
    EXPECT_THAT(find_other_row(ran, recorded), IsEmpty());
    ran.steps[1].row = "ref";
    EXPECT_THAT(find_other_row(ran, recorded), HasSubstr("b linear"));
    EXPECT_THAT(find_other_row(ran, recorded), HasSubstr("ran by row ref, recorded is avx512"));
    ran.steps = {recorded.steps[1], recorded.steps[0]};
    EXPECT_THAT(find_other_row(ran, recorded), HasSubstr("operation 1"));
    ran.steps.pop_back();
    EXPECT_THAT(find_other_row(ran, recorded), HasSubstr("1 operations ran, 2 are recorded"));
}

BenchRun run_of(int64_t concurrency, std::vector<double> decode) {
    BenchRun run{.concurrency = concurrency, .prompt_tokens = 128, .output_tokens = 64, .repeats = 3};
    run.bytes_per_step = 3e9;
    for (const double rate : decode) {
        Round round;
        round.decode_tokens_per_second = rate;
        run.rounds.push_back(round);
        run.bandwidths.push_back(30e9);
    }
    return run;
}

TEST(BenchRun, ShareIsOfTheCeilingOfItsOwnRounds) {
    const BenchRun run = run_of(2, {10, 12, 14});
    EXPECT_DOUBLE_EQ(run.ceiling(), 20);
    EXPECT_DOUBLE_EQ(run.share(), 0.6);
    BenchRun unknown = run;
    unknown.bandwidths.clear();
    EXPECT_EQ(unknown.ceiling(), 0);
    EXPECT_EQ(unknown.share(), 0);
}

Json record(std::vector<double> decode) {
    Json json = {{"nibble_bench", 1},
                 {"target", "in this process"},
                 {"program", {{"commit", "aaa"}}},
                 {"checkpoint", {{"hash", "h1"}}},
                 {"device", {{"name", "CPU"}, {"threads", 2}, {"state", Json::object()}}},
                 {"prompts", "distinct random ids"},
                 {"seed", 1}};
    json["runs"].push_back(json_of(run_of(1, std::move(decode))));
    return json;
}

TEST(CompareRecords, GivesRatiosAndWhetherTheSpreadsTouch) {
    Json b = record({20, 22, 24});
    b["program"]["commit"] = "bbb";
    const auto comparison = compare_records(record({10, 11, 12}), b);
    ASSERT_TRUE(comparison) << comparison.error().message;
    ASSERT_EQ(comparison->lines.size(), 1u);
    EXPECT_DOUBLE_EQ(comparison->lines[0].decode.b / comparison->lines[0].decode.a, 2);
    EXPECT_TRUE(comparison->lines[0].decode.apart);
    EXPECT_THAT(describe(*comparison), HasSubstr("x2.000"));
    EXPECT_THAT(describe(*comparison), HasSubstr("program.commit: \"aaa\" and \"bbb\""));
    EXPECT_FALSE(compare_records(record({10, 11, 12}), record({11, 12, 13}))->lines[0].decode.apart);
}

TEST(CompareRecords, RefusesUnlikeRunsAndNamesTheFields) {
    Json b = record({20});
    b["prompts"] = "identical";
    b["checkpoint"]["hash"] = "h2";
    b["device"]["threads"] = 4;
    const auto refused = compare_records(record({10}), b);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::usage);
    for (const char* field :
         {"prompts: \"distinct random ids\" and \"identical\"", "checkpoint.hash", "device.threads"})
        EXPECT_THAT(refused.error().message, HasSubstr(field));
    EXPECT_THAT(refused.error().message, Not(HasSubstr("seed")));
}

TEST(CompareRecords, RefusesARunThatWasThrottled) {
    Json b = record({20});
    b["device"]["state_after"] = {{"throttled", {"thermal limit"}}};
    EXPECT_THAT(compare_records(record({10}), b).error().message, HasSubstr("throttled"));
}

TEST(CompareRecords, AServerByUrlNeedNotTellItsThreads) {
    Json b = record({20});
    b["device"].erase("threads");
    EXPECT_TRUE(compare_records(record({10}), b));
    b["runs"][0]["concurrency"] = 8;
    EXPECT_THAT(compare_records(record({10}), b).error().message, HasSubstr("no combination"));
}

TEST(BenchPicture, IsOneDocumentForOneRunAndForMany) {
    const std::vector<BenchRun> one = {run_of(1, {10, 11, 12})};
    EXPECT_THAT(draw_bench("Model <x>", "CPU", one), HasSubstr("ceiling of memory"));
    std::vector<BenchRun> many = {run_of(1, {10}), run_of(4, {30}), run_of(16, {90})};
    many.push_back(run_of(1, {9}));
    many.back().prompt_tokens = 2048;
    many.back().bandwidths.clear();
    const std::string svg = draw_bench("Model <x>", "CPU", many);
    EXPECT_THAT(svg, HasSubstr("ceiling, prompts of 128"));
    EXPECT_THAT(svg, HasSubstr("prompts of 2048"));
    EXPECT_THAT(svg, Not(HasSubstr("<x>")));
    EXPECT_THAT(svg, Not(HasSubstr("nan")));
}

}  // namespace
}  // namespace nibble::cli
