// The guard closes at once and opens late, and reads what the kernel writes.
#include "cli/memory_guard.h"

#include "base/temporary_folder.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace nibble::cli {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

MemoryPressure pressure(int64_t available, double stall = 0) {
    return {.memory = {121 * kGiB, available}, .stall_percent = stall};
}

Admittance after(GuardPolicy& policy, const MemoryPressure& pressure, int readings) {
    for (int i = 0; i < readings; ++i) policy.next(pressure);
    return policy.state();
}

TEST(GuardPolicy, ClosesBelowEightGiBAndShedsBelowFour) {
    GuardPolicy policy(guard_limits(256 * kGiB));
    EXPECT_EQ(policy.next(pressure(12 * kGiB)), Admittance::open);
    EXPECT_EQ(policy.next(pressure(8 * kGiB)), Admittance::open);
    EXPECT_EQ(policy.next(pressure(8 * kGiB - 1)), Admittance::closed);
    EXPECT_EQ(policy.next(pressure(4 * kGiB)), Admittance::closed);
    EXPECT_EQ(policy.next(pressure(4 * kGiB - 1)), Admittance::shedding);
}

TEST(GuardPolicy, OpensOnlyAfterAWhileAboveTheUpperLimit) {
    GuardPolicy policy(guard_limits(256 * kGiB));
    policy.next(pressure(7 * kGiB));
    EXPECT_EQ(after(policy, pressure(8 * kGiB + 1), 1000), Admittance::closed);  // between the limits
    EXPECT_EQ(after(policy, pressure(10 * kGiB), 19), Admittance::closed);
    EXPECT_EQ(policy.next(pressure(8 * kGiB + 1)), Admittance::closed);  // which begins the count again
    EXPECT_EQ(after(policy, pressure(10 * kGiB), 19), Admittance::closed);
    EXPECT_EQ(policy.next(pressure(10 * kGiB)), Admittance::open);
}

TEST(GuardPolicy, FromSheddingItOpensInTwoSteps) {
    GuardPolicy policy(guard_limits(256 * kGiB));
    policy.next(pressure(kGiB));
    EXPECT_EQ(after(policy, pressure(20 * kGiB), 20), Admittance::closed);
    EXPECT_EQ(after(policy, pressure(20 * kGiB), 20), Admittance::open);
}

TEST(GuardPolicy, StallsCountWhateverIsAvailable) {
    GuardPolicy policy(guard_limits(121 * kGiB));
    EXPECT_EQ(policy.next(pressure(60 * kGiB, 4)), Admittance::open);
    EXPECT_EQ(policy.next(pressure(60 * kGiB, 21)), Admittance::closed);
    EXPECT_EQ(policy.next(pressure(60 * kGiB, 41)), Admittance::shedding);
    EXPECT_EQ(after(policy, pressure(60 * kGiB, 6), 1000), Admittance::closed);
    EXPECT_EQ(after(policy, pressure(60 * kGiB, 5), 20), Admittance::open);
}

TEST(GuardPolicy, AServerThatFillsItsPlanBeginsOpen) {
    for (const int64_t total : {kGiB, 16 * kGiB, 121 * kGiB, 1024 * kGiB}) {
        GuardPolicy policy(guard_limits(total));
        EXPECT_EQ(policy.next({.memory = {total, total / 100 * 8}}), Admittance::open) << total;
    }
}

void write_proc(const TemporaryFolder& root, int64_t available_kb, double stall) {
    root.write("proc/meminfo",
               fmt::format("MemTotal:       126877696 kB\nMemFree:          500000 kB\nMemAvailable:   {} kB\n"
                           "Cached:         90000000 kB\n",
                           available_kb));
    root.write("proc/pressure/memory",
               fmt::format("some avg10=50.00 avg60=9.00 avg300=1.00 total=1\nfull avg10={:.2f} avg60=0.00 avg300=0.00 "
                           "total=2\n",
                           stall));
}

TEST(MemoryPressure, IsReadFromTheKernelsFiles) {
    const TemporaryFolder root;
    EXPECT_FALSE(read_memory_pressure(root.path()));
    write_proc(root, 100'000'000, 12.5);
    const auto pressure = read_memory_pressure(root.path());
    ASSERT_TRUE(pressure) << pressure.error().message;
    EXPECT_EQ(pressure->memory.available_bytes, int64_t{100'000'000} * 1024);  // the page cache is not counted as used
    EXPECT_EQ(pressure->stall_percent, 12.5);
    root.write("proc/pressure/memory", "full avg10=nan\nrubbish");
    EXPECT_EQ(read_memory_pressure(root.path())->stall_percent, 0);
    write_proc(root, -37'000'000, 0);
    const auto negative = read_memory_pressure(root.path());
    ASSERT_FALSE(negative);
    EXPECT_EQ(negative.error().code, ErrorCode::device_unusable);
}

TEST(MemoryGuard, TellsOfChangesAndOfReadingsThatCannotBeTrue) {
    const TemporaryFolder root;
    write_proc(root, 100'000'000, 0);
    std::mutex mutex;
    std::condition_variable told;
    std::vector<Admittance> states;
    int errors = 0;
    MemoryGuard::Options options{.root = root.path(), .period = std::chrono::milliseconds(2)};
    options.on_change = [&](Admittance state, const MemoryPressure&) {
        const std::lock_guard lock(mutex);
        if (states.empty() || states.back() != state) states.push_back(state);
        told.notify_one();
    };
    options.on_error = [&](const Error&) {
        const std::lock_guard lock(mutex);
        ++errors;
        told.notify_one();
    };
    const auto guard = MemoryGuard::start(options);
    ASSERT_TRUE(guard);
    const auto wait_for = [&](auto condition) {
        std::unique_lock lock(mutex);
        return told.wait_for(lock, std::chrono::seconds(20), condition);
    };
    write_proc(root, 2'000'000, 0);
    EXPECT_TRUE(wait_for([&] { return !states.empty() && states.back() == Admittance::shedding; }));
    write_proc(root, 200'000'000, 0);
    EXPECT_TRUE(wait_for([&] { return errors >= 1; }));
    {
        const std::lock_guard lock(mutex);
        EXPECT_EQ(states.back(), Admittance::shedding);
    }
    write_proc(root, 100'000'000, 0);
    EXPECT_TRUE(wait_for([&] { return states.back() == Admittance::open; }));
}

TEST(OomScore, IsRaisedUnlessSomebodyChoseOne) {
    const TemporaryFolder root;
    EXPECT_FALSE(prefer_for_oom_kill(root.path()));
    const auto file = root.write("proc/self/oom_score_adj", "0\n");
    EXPECT_TRUE(prefer_for_oom_kill(root.path()));
    std::string text;
    std::ifstream(file) >> text;
    EXPECT_EQ(text, "500");
    root.write("proc/self/oom_score_adj", "100");
    EXPECT_TRUE(prefer_for_oom_kill(root.path()));
    std::ifstream(file) >> text;
    EXPECT_EQ(text, "100");
}

}  // namespace
}  // namespace nibble::cli
