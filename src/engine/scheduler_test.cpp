#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>

namespace nibble::engine {
namespace {

// Sequences that a test adds, and steps whose sampled tokens are all 1; a sequence ends with its max_tokens.
class Steps {
public:
    explicit Steps(const SchedulerLimits& limits) : scheduler(limits) {}

    Sequence& add(int prompt, int max_tokens, int priority = 0, int prompt_logprobs = -1) {
        Request request;
        request.prompt.assign(static_cast<size_t>(prompt), 0);
        request.priority = priority;
        request.sampling.max_tokens = max_tokens;
        request.sampling.prompt_logprobs = prompt_logprobs;
        const int64_t number = static_cast<int64_t>(sequences.size()) + 1;
        sequences.push_back(std::make_unique<Sequence>(number, std::move(request), nullptr, TimePoint{}));
        scheduler.add(*sequences.back());
        return *sequences.back();
    }

    // One step; tokens computed of each sequence, by number.
    std::map<int64_t, int64_t> step() {
        const StepPlan& plan = scheduler.plan();
        scheduler.audit();
        std::map<int64_t, int64_t> tokens;
        int64_t sum = 0;
        for (const StepRow& row : plan.rows) sum += tokens[row.sequence] = static_cast<int64_t>(row.tokens.size());
        EXPECT_EQ(sum, plan.tokens);
        EXPECT_EQ(tokens.size(), plan.rows.size());
        scheduler.advance();
        for (size_t i = 0; i < plan.rows.size(); ++i) {
            Sequence& s = *scheduler.planned()[i];
            if (plan.rows[i].prompt_logprobs)
                s.prompt_logprobs.resize(s.prompt_logprobs.size() + plan.rows[i].tokens.size() -
                                         (plan.rows[i].next_prompt_token < 0 ? 1 : 0));
            if (plan.rows[i].sample) s.tokens.push_back(1);
            if (s.to_compute() == 0 || s.output_tokens() == s.sampling.max_tokens) scheduler.remove(s);
        }
        scheduler.audit();
        return tokens;
    }

    bool ended(const Sequence& s) const { return s.place == Sequence::Place::outside; }

    Scheduler scheduler;
    std::vector<std::unique_ptr<Sequence>> sequences;
};

constexpr SchedulerLimits kRoomy{
    .pages = 1000, .page_size = 4, .slots = 8, .max_sequences = 8, .max_step_tokens = 16, .max_logit_rows = 16};

TEST(Scheduler, PromptIsComputedInChunksAndThenTokenByToken) {
    Steps steps(kRoomy);
    steps.add(40, 3);
    EXPECT_EQ(steps.step(), (std::map<int64_t, int64_t>{{1, 16}}));
    EXPECT_EQ(steps.step(), (std::map<int64_t, int64_t>{{1, 16}}));
    EXPECT_EQ(steps.step(), (std::map<int64_t, int64_t>{{1, 8}}));
    EXPECT_EQ(steps.step(), (std::map<int64_t, int64_t>{{1, 1}}));
    EXPECT_EQ(steps.step(), (std::map<int64_t, int64_t>{{1, 1}}));
    EXPECT_TRUE(steps.scheduler.plan().rows.empty());
    EXPECT_EQ(steps.scheduler.page_table().free_pages(), 1000);
    EXPECT_EQ(steps.scheduler.slot_table().free_slots(), 8);
}

TEST(Scheduler, DecodeIsNeverStarvedByPrefill) {
    Steps steps(kRoomy);
    steps.add(1, 100);
    steps.step();
    for (int i = 0; i < 5; ++i) steps.add(200, 1);
    for (int i = 0; i < 50; ++i) {
        const auto tokens = steps.step();
        EXPECT_EQ(tokens.at(1), 1);
        EXPECT_EQ(tokens.size() == 2 ? tokens.rbegin()->second : 15, 15);
    }
}

TEST(Scheduler, PrefillIsNeverStarvedByDecode) {
    SchedulerLimits limits = kRoomy;
    limits.max_step_tokens = 4;  // eight sequences, of which seven decode
    Steps steps(limits);
    for (int i = 0; i < 7; ++i) steps.add(1, 1000);
    for (int i = 0; i < 20; ++i) steps.step();
    steps.add(50, 1);
    std::map<int64_t, int64_t> computed;
    for (int i = 0; i < 50; ++i)
        for (auto [number, tokens] : steps.step()) computed[number] += tokens;
    EXPECT_EQ(computed[8], 50) << "one of four tokens of every step";
    for (int64_t number = 1; number <= 7; ++number) EXPECT_NEAR(computed[number], 150.0 / 7, 2) << number;
}

TEST(Scheduler, StepsOfOneTokenAlternateBetweenPromptsAndDecodes) {
    SchedulerLimits limits = kRoomy;
    limits.max_step_tokens = 1;
    Steps steps(limits);
    steps.add(1, 1000);
    steps.step();
    steps.add(10, 5);
    std::map<int64_t, int64_t> computed;
    for (int i = 0; i < 20; ++i)
        for (auto [number, tokens] : steps.step()) computed[number] += tokens;
    EXPECT_EQ(computed[2], 10);
    EXPECT_EQ(computed[1], 10);
}

TEST(Scheduler, QueueKeepsPriorityThenArrival) {
    SchedulerLimits limits = kRoomy;
    limits.max_sequences = 1;
    Steps steps(limits);
    std::vector<const Sequence*> order;
    const Sequence& low = steps.add(4, 1, 5);
    const Sequence& first = steps.add(4, 1, 0);
    const Sequence& second = steps.add(4, 1, 0);
    const Sequence& urgent = steps.add(4, 1, -1);
    std::vector<int64_t> ended;
    while (ended.size() < 4)
        for (auto [number, tokens] : steps.step()) ended.push_back(number);
    EXPECT_EQ(ended, (std::vector<int64_t>{urgent.number, first.number, second.number, low.number}));
}

TEST(Scheduler, LargeRequestAtTheHeadIsNotPassedBySmallOnes) {
    SchedulerLimits limits = kRoomy;
    limits.pages = 12;
    Steps steps(limits);
    const Sequence& running = steps.add(20, 20);
    steps.step();
    const Sequence& large = steps.add(40, 2);
    const Sequence& small = steps.add(1, 2);
    while (!steps.ended(running)) {
        steps.step();
        EXPECT_EQ(small.place, Sequence::Place::waiting);
        EXPECT_NE(large.place, Sequence::Place::outside);
    }
    steps.step();
    EXPECT_EQ(large.place, Sequence::Place::running);
}

TEST(Scheduler, PreemptedSequenceIsTheLastInRankAndKeepsItsPlace) {
    SchedulerLimits limits = kRoomy;
    limits.pages = 100;  // 400 tokens
    Steps steps(limits);
    const Sequence& first = steps.add(100, 300);
    const Sequence& second = steps.add(100, 300);
    const Sequence& third = steps.add(4, 4);
    while (second.preemptions == 0) {
        ASSERT_FALSE(steps.ended(first));
        steps.step();
    }
    EXPECT_EQ(first.preemptions, 0);
    const Sequence& late = steps.add(1, 1);
    while (!steps.ended(second)) {
        steps.step();
        if (steps.ended(late)) {
            EXPECT_TRUE(second.place == Sequence::Place::running || steps.ended(second)) << "passed in the queue";
        }
    }
    EXPECT_TRUE(steps.ended(first));
    while (!steps.ended(late)) steps.step();
    EXPECT_TRUE(steps.ended(third));
    EXPECT_EQ(static_cast<int>(second.output_tokens()), 300);
    EXPECT_EQ(steps.scheduler.page_table().free_pages(), 100);
}

TEST(Scheduler, PreemptionsStopAtTheirCap) {
    SchedulerLimits limits = kRoomy;
    limits.pages = 27;  // 1.1 of the largest
    limits.max_sequences = 8;
    limits.slots = 8;
    Steps steps(limits);
    for (int i = 0; i < 64; ++i) steps.add(40, 56);
    int64_t computed = 0;
    for (int i = 0; i < 100000 && steps.scheduler.running() + steps.scheduler.waiting() > 0; ++i)
        for (auto [number, tokens] : steps.step()) computed += tokens;
    for (const auto& s : steps.sequences) {
        EXPECT_TRUE(steps.ended(*s));
        EXPECT_LE(s->preemptions, Scheduler::kMaxPreemptions);
    }
    EXPECT_LE(computed, 3 * 64 * 95);
}

TEST(Scheduler, LittleIsComputedTwiceWhenPagesAreScarce) {
    Steps steps({.pages = 512,
                 .page_size = 16,
                 .slots = 64,
                 .max_sequences = 64,
                 .max_step_tokens = 512,
                 .max_logit_rows = 80});
    int64_t needed = 0, computed = 0, count = 0;
    for (int i = 0; i < 200; ++i) {
        const int prompt = 50 + i * 7919 % 1000, output = 20 + i * 104729 % 900;
        steps.add(prompt, output);
        needed += prompt + output - 1;
    }
    for (; steps.scheduler.running() + steps.scheduler.waiting() > 0; ++count)
        for (auto [number, tokens] : steps.step()) computed += tokens;
    EXPECT_LT(computed, needed * 5 / 4);
    EXPECT_GT(needed / count, 12) << "and many run together";
}

TEST(Scheduler, HigherPriorityTakesPagesAndPlaceFromLower) {
    SchedulerLimits limits = kRoomy;
    limits.pages = 10;
    limits.max_sequences = 2;
    Steps steps(limits);
    const Sequence& low = steps.add(16, 20, 1);
    const Sequence& lower = steps.add(8, 20, 2);
    steps.step();
    steps.step();
    const Sequence& high = steps.add(12, 4, 0);
    steps.step();
    EXPECT_EQ(high.place, Sequence::Place::running);
    EXPECT_EQ(lower.place, Sequence::Place::waiting);
    EXPECT_EQ(low.place, Sequence::Place::running);
    const Sequence& equal = steps.add(12, 4, 1);
    steps.step();
    EXPECT_EQ(equal.place, Sequence::Place::waiting) << "equals do not push each other out";
}

TEST(Scheduler, RemovalFreesPagesAndSlotAtOnce) {
    Steps steps(kRoomy);
    Sequence& running = steps.add(40, 10);
    Sequence& waiting = steps.add(4000 - 100, 10);
    steps.step();
    EXPECT_EQ(steps.scheduler.page_table().free_pages(), 990);
    steps.scheduler.remove(running);
    steps.scheduler.remove(waiting);
    steps.scheduler.audit();
    EXPECT_EQ(steps.scheduler.page_table().free_pages(), 1000);
    EXPECT_EQ(steps.scheduler.slot_table().free_slots(), 8);
}

TEST(Scheduler, ModelWithoutPagesIsLimitedBySlotsAlone) {
    SchedulerLimits limits = kRoomy;
    limits.pages = 0;
    limits.page_size = 0;
    Steps steps(limits);
    for (int i = 0; i < 20; ++i) steps.add(10, 10);
    steps.step();
    while (steps.scheduler.waiting() > 0) steps.step();
    for (int i = 0; i < 100 && steps.scheduler.running() > 0; ++i) steps.step();
    for (const auto& s : steps.sequences) EXPECT_TRUE(steps.ended(*s));
}

TEST(Scheduler, PromptLogprobsKeepToTheRowsOfLogits) {
    SchedulerLimits limits = kRoomy;
    limits.max_step_tokens = 64;
    limits.max_logit_rows = 9;
    Steps steps(limits);
    const Sequence& s = steps.add(30, 2, 0, 5);
    steps.add(30, 2, 0, 0);
    while (steps.scheduler.running() + steps.scheduler.waiting() > 0) {
        const StepPlan& plan = steps.scheduler.plan();
        EXPECT_LE(plan.logit_rows, 9);
        steps.step();
    }
    EXPECT_EQ(s.prompt_logprobs.size(), 30u);
}

TEST(Scheduler, PromptOfMaxTokensZeroIsReadAndNothingDrawn) {
    Steps steps(kRoomy);
    const Sequence& s = steps.add(20, 0);
    steps.step();
    const StepPlan& plan = steps.scheduler.plan();
    EXPECT_FALSE(plan.rows[0].sample);
    EXPECT_EQ(plan.logit_rows, 0);
    steps.step();
    EXPECT_TRUE(steps.ended(s));
}

}  // namespace
}  // namespace nibble::engine
