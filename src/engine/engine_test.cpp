#include "engine/engine.h"

#include "engine/stub_executor.h"

#include <gtest/gtest.h>
#include <time.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>

namespace nibble::engine {
namespace {

using namespace std::chrono_literals;

constexpr auto kSoon = 60s;  // only a hang lasts so long

Request request(std::vector<TokenId> prompt, int max_tokens) {
    Request r;
    r.prompt = std::move(prompt);
    r.sampling.max_tokens = max_tokens;
    r.sampling.temperature = 0;
    return r;
}

struct Answer {
    std::vector<TokenId> tokens;
    FinishReason finish = FinishReason::none;
};

Answer read_all(RequestStream& stream) {
    Answer answer;
    while (answer.finish == FinishReason::none) {
        const auto event = stream.next(kSoon);
        if (!event) {
            ADD_FAILURE() << "no event";
            break;
        }
        if (event->token >= 0) answer.tokens.push_back(event->token);
        answer.finish = event->finish;
    }
    EXPECT_FALSE(stream.try_next().has_value());
    return answer;
}

template <class Condition>
void wait_until(const Condition& condition) {
    for (const auto end = std::chrono::steady_clock::now() + kSoon; !condition();) {
        ASSERT_LT(std::chrono::steady_clock::now(), end);
        std::this_thread::sleep_for(1ms);
    }
}

// An executor whose steps wait until they are let through.
class Gate final : public Executor {
public:
    const ExecutorLimits& limits() const override { return stub_.limits(); }
    void run(const StepPlan& plan, std::span<RowResult> results) override {
        std::unique_lock lock(mutex_);
        ++entered_;
        changed_.notify_all();
        changed_.wait(lock, [&] { return allowed_ > 0; });
        --allowed_;
        stub_.run(plan, results);
    }
    void allow(int steps) {
        const std::lock_guard lock(mutex_);
        allowed_ += steps;
        changed_.notify_all();
    }
    void wait_for_entry(int count) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return entered_ >= count; });
    }

private:
    StubExecutor stub_;
    std::mutex mutex_;
    std::condition_variable changed_;
    int allowed_ = 0, entered_ = 0;
};

TEST(Engine, ManyThreadsGetTheTokensOfTheirRequestRunAlone) {
    StubOptions options{.check_pages = true};
    options.limits.pages = 60;
    options.limits.max_context = 500;
    Engine engine(std::make_unique<StubExecutor>(options), {.max_queue = 1000, .max_step_tokens = 64});
    std::vector<std::thread> clients;
    for (uint64_t c = 0; c < 8; ++c)
        clients.emplace_back([&, c] {
            std::mt19937_64 random(c);
            for (int i = 0; i < 40; ++i) {
                Request r = request({}, static_cast<int>(1 + random() % 60));
                r.prompt.resize(1 + random() % 200);
                for (TokenId& token : r.prompt) token = static_cast<TokenId>(random() % 256);
                r.sampling.temperature = static_cast<float>(random() % 2);
                r.sampling.seed = random();
                r.sampling.stop_ids = {static_cast<TokenId>(random() % 256)};
                const auto alone = StubExecutor::reference_output(r.prompt, r.sampling, 256);
                auto stream = engine.submit(r);
                ASSERT_TRUE(stream);
                const Answer answer = read_all(**stream);
                EXPECT_EQ(answer.tokens, alone);
                EXPECT_TRUE(answer.finish == FinishReason::stop || answer.finish == FinishReason::length);
            }
        });
    for (auto& client : clients) client.join();
    wait_until([&] { return engine.idle(); });
    const Stats stats = engine.stats();
    EXPECT_EQ(stats.finished_stop + stats.finished_length, 320u);
    EXPECT_EQ(stats.pages_used, 0);
    EXPECT_EQ(stats.slots_used, 0);
    EXPECT_EQ(stats.running, 0);
    EXPECT_EQ(stats.waiting, 0);
    EXPECT_EQ(stats.time_to_first_token.total, 320u);
    EXPECT_EQ(stats.queue.total, 320u);
    EXPECT_EQ(stats.end_to_end.total, 320u);
    EXPECT_EQ(stats.inter_token.total + 320, stats.generated_tokens);
}

TEST(Engine, CancelsFromAnyThreadFreeEverythingAndDisturbNobody) {
    StubOptions options{.check_pages = true};
    options.limits.pages = 100;
    options.limits.max_context = 600;
    Engine engine(std::make_unique<StubExecutor>(options), {.max_sequences = 16, .max_queue = 1000});
    std::vector<std::thread> clients;
    for (uint64_t c = 0; c < 6; ++c)
        clients.emplace_back([&, c] {
            std::mt19937_64 random(100 + c);
            for (int i = 0; i < 60; ++i) {
                std::atomic<int> ready = 0;
                Request r = request(std::vector<TokenId>(1 + random() % 50, static_cast<TokenId>(c)), 200);
                const auto alone = StubExecutor::reference_output(r.prompt, r.sampling, 256);
                auto stream = engine.submit(std::move(r), [&] { ++ready; });
                ASSERT_TRUE(stream);
                const int wanted = static_cast<int>(random() % 250);
                std::vector<TokenId> tokens;
                FinishReason finish = FinishReason::none;
                while (static_cast<int>(tokens.size()) < wanted && finish == FinishReason::none) {
                    const auto event = (*stream)->next(kSoon);
                    ASSERT_TRUE(event);
                    if (event->token >= 0) tokens.push_back(event->token);
                    finish = event->finish;
                }
                if (random() % 2) {
                    (*stream)->cancel();
                    while (finish == FinishReason::none) {
                        const auto event = (*stream)->next(kSoon);
                        ASSERT_TRUE(event) << "the end comes after cancel";
                        if (event->token >= 0) tokens.push_back(event->token);
                        finish = event->finish;
                    }
                }
                ASSERT_LE(tokens.size(), alone.size());
                EXPECT_TRUE(std::equal(tokens.begin(), tokens.end(), alone.begin()));
                stream->reset();
                const int calls = ready;
                if (random() % 8 == 0) std::this_thread::sleep_for(1ms);
                EXPECT_EQ(ready, calls) << "on_ready after the stream is gone";
            }
        });
    for (auto& client : clients) client.join();
    wait_until([&] { return engine.idle(); });
    EXPECT_EQ(engine.stats().pages_used, 0);
    EXPECT_EQ(engine.stats().slots_used, 0);
    EXPECT_GT(engine.stats().finished_cancelled, 0u);
}

TEST(Engine, CancelFreesPagesAndSlotWithinOneStep) {
    auto gate = std::make_unique<Gate>();
    Gate& steps = *gate;
    Engine engine(std::move(gate), {});
    auto cancelled = engine.submit(request(std::vector<TokenId>(100, 1), 50));
    steps.wait_for_entry(1);
    auto other = engine.submit(request({2}, 50));
    (*cancelled)->cancel();  // while its step is in work
    steps.allow(1);
    steps.wait_for_entry(2);  // the next step runs without it
    EXPECT_EQ((*cancelled)->next(kSoon)->finish, FinishReason::none);
    EXPECT_EQ((*cancelled)->next(kSoon)->finish, FinishReason::cancelled);
    steps.allow(1);
    steps.wait_for_entry(3);
    EXPECT_EQ(engine.stats().pages_used, 1);
    EXPECT_EQ(engine.stats().slots_used, 1);
    steps.allow(1000);
}

TEST(Engine, FullQueueIsOverloadedAndRefusesNothingThatCouldRun) {
    auto gate = std::make_unique<Gate>();
    Gate& steps = *gate;
    Engine engine(std::move(gate), {.max_sequences = 2, .max_queue = 3});
    std::vector<std::unique_ptr<RequestStream>> streams;
    for (int i = 0; i < 5; ++i) {
        auto stream = engine.submit(request({1, 2, 3}, 4));
        ASSERT_TRUE(stream) << i;
        streams.push_back(std::move(*stream));
    }
    steps.wait_for_entry(1);
    auto refused = engine.submit(request({1}, 1));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::overloaded);
    EXPECT_EQ(engine.stats().rejected, 1u);
    steps.allow(1000);
    for (auto& stream : streams) EXPECT_EQ(read_all(*stream).finish, FinishReason::length);
    EXPECT_TRUE(engine.submit(request({1}, 1)));
}

TEST(Engine, ReaderThatNeverReadsStopsNobodyAndIsCancelledInTheEnd) {
    StubOptions options;
    options.limits.max_context = 200000;
    options.limits.pages = 20000;
    Engine engine(std::make_unique<StubExecutor>(options), {});
    Request endless = request({1}, 150000);
    endless.sampling.ignore_eos = true;
    endless.sampling.logprobs = 20;
    auto lazy = engine.submit(std::move(endless));
    for (int i = 0; i < 50; ++i) {
        auto stream = engine.submit(request({2, 3}, 20));
        EXPECT_EQ(read_all(**stream).finish, FinishReason::length);
    }
    wait_until([&] { return engine.idle(); });
    EXPECT_EQ(engine.stats().unread, 1u);
    EXPECT_EQ(engine.stats().pages_used, 0);
    EXPECT_EQ(read_all(**lazy).finish, FinishReason::cancelled);
}

TEST(Engine, DrainRefusesNewRequestsAndFinishesTheOthers) {
    StubOptions options{.step_delay = 200us};
    Engine engine(std::make_unique<StubExecutor>(options), {.max_sequences = 2});
    std::vector<std::unique_ptr<RequestStream>> streams;
    for (int i = 0; i < 6; ++i) streams.push_back(std::move(*engine.submit(request({i}, 30))));
    engine.drain();
    auto refused = engine.submit(request({1}, 1));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::unavailable);
    for (auto& stream : streams) EXPECT_EQ(read_all(*stream).tokens.size(), 30u);
    wait_until([&] { return engine.idle(); });
}

TEST(Engine, SheddingEndsWhatWasNeverStartedAndNothingElse) {
    auto gate = std::make_unique<Gate>();
    Gate& held = *gate;
    Engine engine(std::move(gate), {.max_sequences = 2});
    std::vector<std::unique_ptr<RequestStream>> streams;
    streams.push_back(std::move(*engine.submit(request({0}, 5))));
    held.wait_for_entry(1);  // it has started, and its step is in work
    for (int i = 1; i < 6; ++i) streams.push_back(std::move(*engine.submit(request({i}, 5))));
    engine.shed_waiting();
    held.allow(100);
    EXPECT_EQ(read_all(*streams[0]).tokens.size(), 5u);
    for (size_t i = 1; i < streams.size(); ++i) {
        const auto all = read_all(*streams[i]);
        EXPECT_EQ(all.finish, FinishReason::shed);
        EXPECT_TRUE(all.tokens.empty());
    }
    EXPECT_EQ(read_all(**engine.submit(request({1}, 2))).tokens.size(), 2u);
}

TEST(Engine, DestructionEndsUnfinishedStreamsWithShutdown) {
    std::vector<std::unique_ptr<RequestStream>> streams;
    {
        StubOptions options{.step_delay = 100us};
        Engine engine(std::make_unique<StubExecutor>(options), {.max_sequences = 2});
        for (int i = 0; i < 6; ++i) streams.push_back(std::move(*engine.submit(request({i}, 10000))));
        EXPECT_TRUE(streams[0]->next(kSoon));
    }
    for (auto& stream : streams) EXPECT_EQ(read_all(*stream).finish, FinishReason::shutdown);
    streams[0]->cancel();
}

TEST(Engine, StalledMeansThatWorkWaitsAndNoStepEnds) {
    auto gate = std::make_unique<Gate>();
    Gate& steps = *gate;
    Engine engine(std::move(gate), {});
    std::this_thread::sleep_for(5ms);
    EXPECT_FALSE(engine.stalled(1ms)) << "idle is not stalled";
    EXPECT_EQ(engine.stats().step_age_ms, 0);
    auto stream = engine.submit(request({1}, 2));
    EXPECT_FALSE(engine.stalled(1h));
    std::this_thread::sleep_for(5ms);
    EXPECT_TRUE(engine.stalled(1ms));
    EXPECT_GT(engine.stats().step_age_ms, 1);
    steps.allow(2);
    read_all(**stream);
    wait_until([&] { return engine.idle(); });
    EXPECT_FALSE(engine.stalled(0ms));
}

TEST(Engine, IdleEngineUsesNoProcessorTime) {
    Engine engine(std::make_unique<StubExecutor>(), {});
    auto stream = engine.submit(request({1}, 5));
    read_all(**stream);
    timespec before, after;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    std::this_thread::sleep_for(100ms);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    EXPECT_LT((after.tv_sec - before.tv_sec) * 1e3 + (after.tv_nsec - before.tv_nsec) / 1e6, 20);
}

TEST(Engine, OnReadyMaySubmitAgain) {
    Engine engine(std::make_unique<StubExecutor>(), {});
    std::mutex mutex;
    std::vector<std::unique_ptr<RequestStream>> streams;
    std::atomic<int> submitted = 0;
    std::function<void()> again = [&] {
        if (submitted.fetch_add(1) >= 10) return;
        auto stream = engine.submit(request({5}, 1), again);
        ASSERT_TRUE(stream);
        const std::lock_guard lock(mutex);
        streams.push_back(std::move(*stream));
    };
    again();
    wait_until([&] {
        const std::lock_guard lock(mutex);
        return streams.size() == 10 && engine.idle();
    });
    for (auto& stream : streams) EXPECT_EQ(read_all(*stream).tokens.size(), 1u);
}

TEST(Engine, NumericalErrorEndsItsOwnRequestAlone) {
    StubOptions options;
    options.numerical_error = [](const StepRow& row) { return row.prompt[0] == 13 && row.output.size() == 3; };
    Engine engine(std::make_unique<StubExecutor>(options), {});
    auto bad = engine.submit(request({13}, 50)), good = engine.submit(request({14}, 50));
    const Answer hurt = read_all(**bad);
    EXPECT_EQ(hurt.finish, FinishReason::numerical_error);
    EXPECT_EQ(hurt.tokens.size(), 3u);
    EXPECT_EQ(read_all(**good).tokens.size(), 50u);
    EXPECT_EQ(engine.stats().finished_error, 1u);
}

TEST(Engine, RequestThatCannotBeRunIsRefusedAtSubmit) {
    StubOptions options;
    options.limits.max_context = 100;
    options.limits.pages = 4;
    Engine roomy(std::make_unique<StubExecutor>(options), {});
    EXPECT_EQ(roomy.options().max_context, 65) << "four pages of 16, and a last token that is only given out";
    EXPECT_EQ(roomy.vocab_size(), 256);
    EXPECT_EQ(roomy.submit(request(std::vector<TokenId>(65, 1), 1)).error().param, "prompt");
    auto clipped = roomy.submit(request(std::vector<TokenId>(60, 1), 1000));
    EXPECT_EQ(read_all(**clipped).tokens.size(), 5u);
    Engine wide(std::make_unique<StubExecutor>(options), {.max_context = 100});
    auto refused = wide.submit(request(std::vector<TokenId>(60, 1), 10));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::does_not_fit);
    EXPECT_EQ(refused.error().param, "max_tokens");
}

TEST(Engine, ScriptedRepliesComeOutAsWritten) {
    StubOptions options;
    options.script = StubExecutor::reply({10, 20, 30}, 2);
    Engine engine(std::make_unique<StubExecutor>(options), {});
    Request r = request({1, 2, 3}, 50);
    r.sampling.stop_ids = {2};
    auto stream = engine.submit(std::move(r));
    const Answer answer = read_all(**stream);
    EXPECT_EQ(answer.tokens, (std::vector<TokenId>{10, 20, 30, 2}));
    EXPECT_EQ(answer.finish, FinishReason::stop);
}

TEST(Histogram, CountsByUpperBound) {
    Histogram histogram;
    histogram.add(0.5);
    histogram.add(1.0);
    histogram.add(1.5);
    histogram.add(1e9);
    EXPECT_EQ(histogram.counts[0], 2u);
    EXPECT_EQ(histogram.counts[1], 1u);
    EXPECT_EQ(histogram.counts[16], 1u);
    EXPECT_EQ(histogram.total, 4u);
}

}  // namespace
}  // namespace nibble::engine
