#include "base/bounded_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace nibble {
namespace {

using namespace std::chrono_literals;

TEST(BoundedQueue, RefusesWhenFullAndKeepsTheOrder) {
    BoundedQueue<int> queue(2);
    EXPECT_TRUE(queue.try_push(1));
    EXPECT_TRUE(queue.try_push(2));
    EXPECT_FALSE(queue.try_push(3));
    EXPECT_EQ(queue.size(), 2u);
    EXPECT_EQ(queue.try_pop(), 1);
    EXPECT_TRUE(queue.try_push(4));
    EXPECT_EQ(queue.pop(), 2);
    EXPECT_EQ(queue.pop(), 4);
    EXPECT_EQ(queue.try_pop(), std::nullopt);
}

TEST(BoundedQueue, ARefusedValueStaysWithTheCaller) {
    BoundedQueue<std::unique_ptr<int>> queue(1);
    auto first = std::make_unique<int>(1), second = std::make_unique<int>(2);
    EXPECT_TRUE(queue.try_push(first));
    EXPECT_FALSE(queue.try_push(second));
    ASSERT_NE(second, nullptr);
    queue.close();
    EXPECT_FALSE(queue.try_push(second));
    ASSERT_NE(second, nullptr);
    EXPECT_EQ(*second, 2);
}

TEST(BoundedQueue, ClosingDeliversWhatWasPushedAndThenNothing) {
    BoundedQueue<int> queue(4);
    queue.try_push(7);
    queue.close();
    EXPECT_FALSE(queue.push(8));
    EXPECT_EQ(queue.pop(), 7);
    EXPECT_EQ(queue.pop(), std::nullopt);
    EXPECT_EQ(queue.pop_within(1h), std::nullopt);
}

TEST(BoundedQueue, ClosingWakesThoseWhoWait) {
    BoundedQueue<int> empty(1), full(1);
    full.try_push(1);
    std::thread popper([&] { EXPECT_EQ(empty.pop(), std::nullopt); });
    std::thread pusher([&] { EXPECT_FALSE(full.push(2)); });
    std::this_thread::sleep_for(5ms);
    empty.close();
    full.close();
    popper.join();
    pusher.join();
}

TEST(BoundedQueue, WaitingForAValueEndsInTime) {
    BoundedQueue<int> queue(1);
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(queue.pop_within(10ms), std::nullopt);
    EXPECT_GE(std::chrono::steady_clock::now() - begin, 10ms);
}

TEST(BoundedQueue, EveryValueArrivesOnceAcrossManyThreads) {
    constexpr int kThreads = 3, kEach = 2000;
    BoundedQueue<int> queue(5);
    std::vector<std::atomic<int>> seen(kThreads * kEach);
    std::vector<std::thread> producers, consumers;
    for (int t = 0; t < kThreads; ++t) {
        producers.emplace_back([&, t] {
            for (int i = 0; i < kEach; ++i) EXPECT_TRUE(queue.push(t * kEach + i));
        });
        consumers.emplace_back([&] {
            while (const auto value = queue.pop()) ++seen[static_cast<size_t>(*value)];
        });
    }
    for (auto& producer : producers) producer.join();
    queue.close();
    for (auto& consumer : consumers) consumer.join();
    for (const auto& times : seen) EXPECT_EQ(times, 1);
}

}  // namespace
}  // namespace nibble
