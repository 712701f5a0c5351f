#include "engine/event_queue.h"

#include "engine/engine.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace nibble::engine {
namespace {

TokenEvent token(TokenId id, FinishReason finish = FinishReason::none) {
    TokenEvent event;
    event.token = id;
    event.finish = finish;
    event.prompt_tokens = 3;
    return event;
}

TEST(EventQueue, GivesBackWhatWasPushedInOrder) {
    EventQueue queue(3, {});
    queue.push(token(1));
    TokenEvent rich = token(2);
    rich.logprob = TokenLogprob{.token = 2, .logprob = -1.5f, .rank = 4};
    rich.top = {{.token = 9, .logprob = -0.5f, .rank = 1}};
    queue.push(std::move(rich));
    queue.push(token(-1, FinishReason::cancelled));
    EXPECT_TRUE(queue.ended());
    EXPECT_EQ(queue.try_pop()->token, 1);
    const TokenEvent second = queue.try_pop().value();
    EXPECT_EQ(second.logprob->rank, 4);
    EXPECT_EQ(second.top.at(0).token, 9);
    EXPECT_EQ(second.prompt_tokens, 3);
    EXPECT_EQ(queue.try_pop()->finish, FinishReason::cancelled);
    EXPECT_FALSE(queue.try_pop().has_value());
    EXPECT_FALSE(queue.pop(std::chrono::hours(1)).has_value()) << "does not wait after the finish";
}

TEST(EventQueue, TellsWhenTooMuchIsUnreadAndForgetsItWhenRead) {
    EventQueue queue(3, {});
    int64_t pushed = 0;
    while (queue.push(token(static_cast<TokenId>(pushed)))) ++pushed;
    EXPECT_GE(pushed, kMaxUnread_bytes / 16 - 1);
    EXPECT_LE(pushed, kMaxUnread_bytes / 16);
    for (int64_t i = 0; i <= pushed; ++i) ASSERT_EQ(queue.try_pop()->token, i);
    EXPECT_TRUE(queue.push(token(0)));
}

TEST(EventQueue, WakesAReaderAndCallsOnReadyUntilDetached) {
    std::atomic<int> calls = 0;
    EventQueue queue(3, [&] { ++calls; });
    std::thread reader([&] {
        EXPECT_EQ(queue.pop(std::chrono::minutes(1))->token, 5);
        EXPECT_EQ(queue.pop(std::chrono::minutes(1))->finish, FinishReason::stop);
    });
    queue.push(token(5));
    queue.push(token(6, FinishReason::stop));
    reader.join();
    EXPECT_EQ(calls, 2);
    EventQueue detached(3, [&] { ++calls; });
    detached.detach();
    detached.push(token(1));
    EXPECT_EQ(calls, 2);
}

TEST(EventQueue, WaitEndsWithTheTimeout) {
    EventQueue queue(3, {});
    EXPECT_FALSE(queue.pop(std::chrono::milliseconds(1)).has_value());
}

}  // namespace
}  // namespace nibble::engine
