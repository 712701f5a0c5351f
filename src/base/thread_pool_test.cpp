#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <numeric>
#include <thread>
#include <vector>

namespace nibble {
namespace {

using namespace std::chrono_literals;

double processor_seconds() {
    timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

TEST(ThreadPool, EveryWorkerRunsOnceARegion) {
    for (const int threads : {1, 2, 3, 5, 9}) {
        ThreadPool pool(threads);
        ASSERT_EQ(pool.size(), threads);
        std::vector<int> runs(static_cast<size_t>(threads));  // not atomic: the pool orders them
        for (int region = 0; region < 500; ++region)
            pool.run([&](int worker, int workers) {
                ASSERT_EQ(workers, threads);
                ++runs[static_cast<size_t>(worker)];
            });
        EXPECT_EQ(runs, std::vector<int>(static_cast<size_t>(threads), 500));
    }
}

TEST(ThreadPool, TheCallerIsWorkerZero) {
    ThreadPool pool(3);
    const auto caller = std::this_thread::get_id();
    pool.run([&](int worker, int) { EXPECT_EQ(worker == 0, std::this_thread::get_id() == caller); });
}

TEST(ThreadPool, RangesCoverEveryIndexOnceCutAtTheGrain) {
    ThreadPool pool(4);
    for (const int64_t grain : {1, 3, 16})
        for (const int64_t count : {0, 1, 2, 15, 16, 17, 63, 64, 65, 1000}) {
            std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
            pool.parallel_for(count, grain, [&](int64_t begin, int64_t end, int worker) {
                EXPECT_LT(worker, 4);
                EXPECT_EQ(begin % grain, 0);
                EXPECT_TRUE(end == count || end % grain == 0);
                for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
            });
            for (const auto& times : seen) EXPECT_EQ(times, 1);
        }
}

// Pauses of every length around the time after which workers fall asleep: a lost wake would hang here.
TEST(ThreadPool, NoWakeIsLostWhateverThePause) {
    ThreadPool pool(3);
    int64_t total = 0;
    for (int round = 0; round < 400; ++round) {
        const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(round % 200);
        while (std::chrono::steady_clock::now() < until) {
        }
        int64_t part[3] = {};
        pool.run([&](int worker, int) { part[worker] = worker + 1; });
        total += part[0] + part[1] + part[2];
    }
    EXPECT_EQ(total, 400 * 6);
}

TEST(ThreadPool, TheOwnerWaitsForSlowWorkers) {
    ThreadPool pool(2);
    for (int round = 0; round < 3; ++round) {
        bool done = false;
        pool.run([&](int worker, int) {
            if (worker == 0) return;
            std::this_thread::sleep_for(5ms);  // longer than the owner spins
            done = true;
        });
        EXPECT_TRUE(done);
    }
}

TEST(ThreadPool, AnIdlePoolUsesNoProcessor) {
    ThreadPool pool(4);
    pool.run([](int, int) {});
    std::this_thread::sleep_for(20ms);  // until everybody sleeps
    const double before = processor_seconds();
    std::this_thread::sleep_for(300ms);
    EXPECT_LT(processor_seconds() - before, 0.003);  // one percent of the pause
}

TEST(ThreadPool, PoolsCanBeMadeAndDroppedAtOnce) {
    for (int i = 0; i < 50; ++i) ThreadPool pool(4);
}

// The child has room for a few stacks only. Sanitizers reserve more address space than any limit allows.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(ThreadPool, WorksWithFewerThreadsWhereTheSystemRefusesMore) {
    const auto child = [] {
        const rlimit limit{.rlim_cur = rlim_t{256} << 20, .rlim_max = rlim_t{256} << 20};
        if (setrlimit(RLIMIT_AS, &limit) != 0) _exit(2);
        ThreadPool pool(200);
        std::atomic<int> runs{0};
        pool.run([&](int, int workers) { runs += workers == pool.size(); });
        _exit(pool.size() < 200 && runs == pool.size() ? 0 : 1);
    };
    EXPECT_EXIT(child(), testing::ExitedWithCode(0), "");
}
#endif

TEST(ThreadPool, TheDefaultUsesAtLeastOneThread) {
    EXPECT_GE(ThreadPool().size(), 1);
    EXPECT_LE(ThreadPool().size(), static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace
}  // namespace nibble
