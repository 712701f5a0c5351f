// The real scheduler and step loop under thousands of random mixes of requests, with a fake model, clock and readers.
//
// Every seed is a scenario: limits (pages from exactly one maximal request to plenty), arrivals in bursts, priorities,
// cancels, rows whose logits are not numbers, readers that read when they like. Checked in every step: pages and slots
// are held by exactly who lists them. Checked of every request: one end, the tokens of the fake model run alone, no
// more preemptions and work than promised, no longer a wait than those before it in rank can cause.
//
// engine_test --simulation_seeds=100000 --simulation_first=1 runs other scenarios than the default's.
#include "engine/step_loop.h"
#include "engine/stub_executor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <random>
#include <string_view>

namespace nibble::engine {
namespace {

class FakeClock final : public Clock {
public:
    TimePoint now() const override { return time; }
    TimePoint time = TimePoint{} + std::chrono::seconds(1);
};

// What the simulator knows of a request, beside what the engine tells.
struct Asked {
    Request request;  // as admitted
    std::shared_ptr<EventQueue> events;
    int64_t arrives = 0, cancelled_at = -1;  // steps
    int64_t fails_at = -1;                   // output tokens before its logits stop being numbers
    int64_t ended = -1;                      // step
    int64_t longest_wait = 0;                // steps it may take; -1: priorities let others pass
    // As seen by the executor.
    int64_t computed = 0, starts = 0, last_row = -1;
    // As seen by the reader.
    std::vector<TokenId> output;
    FinishReason finish = FinishReason::none;
};

// Looks at every row on its way to the stub.
class WatchedExecutor final : public Executor {
public:
    WatchedExecutor(const StubOptions& options, std::map<int64_t, Asked>& asked) : stub(options), asked_(asked) {}
    const ExecutorLimits& limits() const override { return stub.limits(); }
    void run(const StepPlan& plan, std::span<RowResult> results) override {
        for (const StepRow& row : plan.rows) {
            Asked& asked = asked_.at(row.sequence);
            asked.computed += static_cast<int64_t>(row.tokens.size());
            if (row.position == 0) ++asked.starts;
            if (row.position >= static_cast<int64_t>(row.prompt.size()) && row.tokens.size() == 1 &&
                asked.last_row >= 0)
                longest_gap = std::max(longest_gap, step - asked.last_row);
            asked.last_row = step;
        }
        stub.run(plan, results);
    }
    StubExecutor stub;
    int64_t step = 0, longest_gap = 0;

private:
    std::map<int64_t, Asked>& asked_;
};

class Simulation {
public:
    explicit Simulation(uint64_t seed) : random_(seed) {}

    void run() {
        choose_limits();
        WatchedExecutor executor(stub_options(), asked_);
        const EngineOptions options = options_in_effect(options_, executor.limits());
        const AdmissionLimits admission = admission_limits(options, executor.limits());
        StepLoop loop(executor, options, clock_);
        choose_requests(admission);

        int64_t next = 1;
        for (int64_t step = 0; next <= last_number_ || !loop.idle(); ++step) {
            ASSERT_LT(step, 2000000) << "no end";
            executor.step = step;
            for (; next <= last_number_ && asked_.at(next).arrives <= step; ++next) arrive(loop, next, step);
            for (auto& [number, asked] : asked_)
                if (asked.cancelled_at >= 0 && asked.cancelled_at <= step && number < next) {
                    loop.cancel(number);
                    asked.cancelled_at = -1;
                }
            loop.scheduler().audit();
            if (!loop.idle()) loop.step();
            loop.scheduler().audit();
            clock_.time += std::chrono::microseconds(random_() % 50000);
            for (int64_t number = 1; number < next; ++number) {
                Asked& asked = asked_.at(number);
                if (asked.ended < 0 && asked.events->ended()) asked.ended = step;
                if (random_() % 3 == 0) read(asked);
            }
        }
        for (int64_t number = 1; number <= last_number_; ++number) check(number);

        EXPECT_EQ(loop.scheduler().page_table().free_pages(), limits_.pages);
        EXPECT_EQ(loop.scheduler().slot_table().free_slots(), limits_.slots);
        const Stats& stats = loop.stats();
        EXPECT_EQ(stats.finished_stop + stats.finished_length + stats.finished_cancelled + stats.finished_error,
                  static_cast<uint64_t>(last_number_));
        EXPECT_EQ(stats.end_to_end.total, static_cast<uint64_t>(last_number_));
        EXPECT_EQ(loop.waiting_first(), 0);
        if (stats.preemptions == 0) {
            EXPECT_EQ(stats.recomputed_tokens, 0u);
            // Without preemption nothing waits for pages once it runs, unless pages ran out for the last in rank.
            if (roomy_) {
                const int64_t tokens = options.max_step_tokens, decodes = tokens - std::max<int64_t>(1, tokens / 4);
                const int64_t rounds =
                    tokens == 1 ? 2 * options.max_sequences : (options.max_sequences + decodes - 1) / decodes;
                EXPECT_LE(executor.longest_gap, rounds + 1);
            }
        } else {
            EXPECT_FALSE(roomy_ && same_priority_) << "preempted with plenty of pages";
        }
        preemptions = stats.preemptions;
    }

    uint64_t preemptions = 0;
    int64_t requests() const { return last_number_; }

private:
    int64_t pick(std::initializer_list<int64_t> values) { return values.begin()[random_() % values.size()]; }
    int64_t between(int64_t least, int64_t most) {
        return least + static_cast<int64_t>(random_() % static_cast<uint64_t>(most - least + 1));
    }

    void choose_limits() {
        limits_.vocab_size = pick({2, 10, 1000});
        limits_.max_context = random_() % 3 ? between(8, 160) : between(100, 500);
        limits_.page_size = pick({1, 4, 16});
        limits_.slots = between(1, 12);
        limits_.max_step_rows = limits_.slots;
        limits_.max_step_tokens = pick({1, 2, 3, 7, 16, 64, 512});
        limits_.max_logit_rows = limits_.slots + between(1, 20);
        const int64_t maximal = (limits_.max_context + limits_.page_size - 1) / limits_.page_size;
        switch (random_() % 5) {
            case 0:
                limits_.pages = limits_.page_size = 0;
                roomy_ = true;
                break;
            case 1:
                limits_.pages = maximal;
                break;
            case 2:
                limits_.pages = maximal + maximal / 10 + 1;
                break;
            case 3:
                limits_.pages = maximal * between(1, 4);
                break;
            default:
                limits_.pages = maximal * limits_.slots * 2 + 16;
                roomy_ = true;
        }
        options_.max_sequences = between(1, limits_.slots);
        options_.max_step_tokens = limits_.max_step_tokens;
    }

    StubOptions stub_options() {
        StubOptions options{.limits = limits_, .check_pages = true};
        options.numerical_error = [this](const StepRow& row) {
            const Asked& asked = asked_.at(row.sequence);
            return row.sample && asked.fails_at >= 0 && static_cast<int64_t>(row.output.size()) >= asked.fails_at;
        };
        return options;
    }

    Request random_request(const AdmissionLimits& admission) {
        Request request;
        request.prompt.resize(static_cast<size_t>(random_() % 4
                                                      ? between(1, std::max<int64_t>(1, admission.max_context / 2))
                                                      : between(1, admission.max_context)));
        for (TokenId& token : request.prompt)
            token = static_cast<TokenId>(random_() % static_cast<uint64_t>(limits_.vocab_size));
        request.priority = same_priority_ ? 0 : static_cast<int>(random_() % 3);
        SamplingParams& sampling = request.sampling;
        sampling.max_tokens =
            static_cast<int>(random_() % 3 ? between(1, std::max<int64_t>(40, admission.max_context / 2))
                                           : between(0, admission.max_context));
        sampling.temperature = random_() % 2 ? 0.0f : 1.0f;
        sampling.seed = random_();
        if (random_() % 2)
            sampling.stop_ids = {static_cast<TokenId>(random_() % static_cast<uint64_t>(limits_.vocab_size))};
        if (random_() % 4 == 0)
            sampling.min_tokens = static_cast<int>(random_() % (static_cast<uint64_t>(sampling.max_tokens) + 1));
        sampling.ignore_eos = random_() % 8 == 0;
        if (random_() % 6 == 0) sampling.prompt_logprobs = static_cast<int>(random_() % 3);
        if (random_() % 6 == 0) sampling.logprobs = static_cast<int>(random_() % 3);
        return request;
    }

    void choose_requests(const AdmissionLimits& admission) {
        same_priority_ = random_() % 3 != 0;
        const int64_t wanted = between(1, 40);
        int64_t step = 0;
        while (last_number_ < wanted) {
            if (random_() % 3 == 0) step += between(0, 60);  // else the burst goes on
            Request request = random_request(admission);
            const int64_t prompt = static_cast<int64_t>(request.prompt.size());
            const bool fits = prompt + (request.sampling.max_tokens > 0 ? 1 : 0) <= admission.max_context;
            const int min_tokens = request.sampling.min_tokens;
            const Result<void> admitted = admit(request, admission);
            EXPECT_EQ(admitted.has_value(), fits);
            if (!admitted) continue;
            request.sampling.min_tokens = std::min(min_tokens, request.sampling.max_tokens);
            Asked& asked = asked_[++last_number_];
            asked.request = std::move(request);
            asked.arrives = step;
            if (random_() % 6 == 0) asked.cancelled_at = step + between(0, 80);
            if (random_() % 10 == 0) asked.fails_at = between(0, 10);
        }
    }

    // Everything that may be computed before a request of this rank ends: itself and those before it, each as often as
    // it may be, one token a step at worst; those after it that hold reserved pages; and its turn among running ones.
    void arrive(StepLoop& loop, int64_t number, int64_t step) {
        Asked& asked = asked_.at(number);
        const auto work = [](const Asked& a) {
            return (static_cast<int64_t>(a.request.prompt.size()) + a.request.sampling.max_tokens) *
                   (Scheduler::kMaxPreemptions + 1);
        };
        int64_t before = 0;
        for (int64_t other = 1; other < number; ++other)
            if (asked_.at(other).ended < 0) before += work(asked_.at(other));
        const int64_t turns = options_.max_sequences + 2;
        asked.longest_wait = same_priority_ ? before * 2 + work(asked) * turns * 2 + turns * limits_.max_context : -1;
        asked.arrives = step;
        asked.events =
            std::make_shared<EventQueue>(static_cast<int>(asked.request.prompt.size()), std::function<void()>{});
        loop.add(number, asked.request, asked.events, clock_.now());
    }

    void read(Asked& asked) {
        while (auto event = asked.events->try_pop()) {
            ASSERT_EQ(asked.finish, FinishReason::none) << "an event after the end";
            const SamplingParams& sampling = asked.request.sampling;
            if (sampling.prompt_logprobs >= 0 && asked.output.empty() &&
                (event->token >= 0 || event->finish == FinishReason::length)) {
                const auto expected = StubExecutor::reference_prompt_logprobs(
                    asked.request.prompt, sampling.prompt_logprobs, limits_.vocab_size);
                ASSERT_EQ(event->prompt_logprobs.size(), asked.request.prompt.size());
                EXPECT_EQ(event->prompt_logprobs[0].chosen.rank, 0);
                for (size_t i = 0; i < expected.size(); ++i) {
                    EXPECT_EQ(event->prompt_logprobs[i + 1].chosen.token, expected[i].chosen.token);
                    EXPECT_EQ(event->prompt_logprobs[i + 1].chosen.rank, expected[i].chosen.rank);
                    EXPECT_EQ(event->prompt_logprobs[i + 1].top.size(), expected[i].top.size());
                }
            } else {
                EXPECT_TRUE(event->prompt_logprobs.empty());
            }
            if (event->token >= 0) {
                asked.output.push_back(event->token);
                ASSERT_EQ(event->logprob.has_value(), sampling.logprobs >= 0);
                if (event->logprob) {
                    EXPECT_EQ(event->logprob->token, event->token);
                }
            }
            asked.finish = event->finish;
        }
    }

    void check(int64_t number) {
        Asked& asked = asked_.at(number);
        SCOPED_TRACE(testing::Message() << "request " << number);
        const SamplingParams& sampling = asked.request.sampling;
        read(asked);
        ASSERT_NE(asked.finish, FinishReason::none) << "lost";
        std::vector<TokenId> alone = StubExecutor::reference_output(asked.request.prompt, sampling, limits_.vocab_size);
        if (asked.finish == FinishReason::numerical_error) {
            EXPECT_EQ(static_cast<int64_t>(asked.output.size()), asked.fails_at);
        }
        if (asked.finish == FinishReason::cancelled || asked.finish == FinishReason::numerical_error) {
            ASSERT_LE(asked.output.size(), alone.size());
            alone.resize(asked.output.size());
        } else {
            const bool stopped = !alone.empty() && !sampling.ignore_eos && !sampling.stop_ids.empty() &&
                                 alone.back() == sampling.stop_ids[0] &&
                                 static_cast<int>(alone.size()) > sampling.min_tokens;
            EXPECT_EQ(asked.finish, stopped ? FinishReason::stop : FinishReason::length);
        }
        EXPECT_EQ(asked.output, alone);
        EXPECT_LE(asked.starts, Scheduler::kMaxPreemptions + 1);
        EXPECT_LE(asked.computed, (Scheduler::kMaxPreemptions + 1) *
                                      static_cast<int64_t>(asked.request.prompt.size() + asked.output.size()));
        if (asked.longest_wait >= 0) {
            EXPECT_LE(asked.ended - asked.arrives, asked.longest_wait);
        }
    }

    std::mt19937_64 random_;
    ExecutorLimits limits_;
    EngineOptions options_;
    bool roomy_ = false, same_priority_ = true;
    FakeClock clock_;
    std::map<int64_t, Asked> asked_;
    int64_t last_number_ = 0;
};

uint64_t flag(std::string_view name, uint64_t otherwise) {
    for (const std::string& argument : testing::internal::GetArgvs()) {
        std::string_view text = argument;
        if (!text.starts_with(name)) continue;
        text.remove_prefix(name.size());
        std::from_chars(text.data(), text.data() + text.size(), otherwise);
    }
    return otherwise;
}

TEST(SchedulerSimulation, EveryRequestEndsOnceWithItsOwnTokensAndEveryPageIsAccountedFor) {
    const uint64_t first = flag("--simulation_first=", 1), count = flag("--simulation_seeds=", 1000);
    uint64_t preemptions = 0;
    int64_t requests = 0;
    for (uint64_t seed = first; seed < first + count; ++seed) {
        SCOPED_TRACE(testing::Message() << "replay: --simulation_first=" << seed << " --simulation_seeds=1");
        Simulation simulation(seed);
        simulation.run();
        preemptions += simulation.preemptions;
        requests += simulation.requests();
        if (testing::Test::HasFailure()) return;
    }
    RecordProperty("requests", static_cast<int>(requests));
    if (count >= 100) {
        EXPECT_GT(preemptions, count / 2) << "the scenarios are too easy";
    }
    fmt::print("{} scenarios, {} requests, {} preemptions\n", count, requests, preemptions);
}

}  // namespace
}  // namespace nibble::engine
