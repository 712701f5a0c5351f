#include "base/thread_pool.h"

#include "base/check.h"
#include "base/host.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace nibble {
inline namespace base {
namespace {

// Long enough for the serial work between two loops of a step, short enough that nobody sees it in top.
constexpr auto kSpin = std::chrono::microseconds(50);

void pause_processor() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("isb" ::: "memory");  // yield is a no-op on most cores; isb waits a few tens of cycles
#endif
}

void futex_wait(std::atomic<uint32_t>& word, uint32_t while_equal) {
    syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT_PRIVATE, while_equal, nullptr, nullptr, 0);
}

void futex_wake_all(std::atomic<uint32_t>& word) {
    syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

// Spins until done() or kSpin has passed; says whether done.
template <class Done>
bool spin_until(Done&& done) {
    // The first hundred rounds (a few microseconds) neither ask the clock nor yield.
    for (int i = 0; i < 100; ++i) {
        if (done()) return true;
        pause_processor();
    }
    const auto end = std::chrono::steady_clock::now() + kSpin;
    while (std::chrono::steady_clock::now() < end) {
        for (int i = 0; i < 16; ++i) {
            if (done()) return true;
            pause_processor();
        }
        sched_yield();  // on a busy machine the thread waited for may stand in line for this very processor
    }
    return done();
}

void pin_to(pthread_t thread, int cpu) {
    const int count = cpu + 1;
    cpu_set_t* set = CPU_ALLOC(count);
    if (set == nullptr) return;
    CPU_ZERO_S(CPU_ALLOC_SIZE(count), set);
    CPU_SET_S(cpu, CPU_ALLOC_SIZE(count), set);
    // A refusal (the mask changed since it was read) costs speed, not correctness.
    (void)pthread_setaffinity_np(thread, CPU_ALLOC_SIZE(count), set);
    CPU_FREE(set);
}

}  // namespace

// One region at a time: the owner writes function and context, sets running to the number of workers, bumps generation.
// Each worker sees the new generation, works, and takes one from running; the owner waits for zero. Both words are
// futexes. A sleeper announces itself before it looks at the word for the last time, and a waker looks for sleepers
// after it changed the word (sequentially consistent both), so no wake is lost and none is sent for nothing.
struct ThreadPool::State {
    alignas(64) std::atomic<uint32_t> generation{0};
    Function function = nullptr;
    void* context = nullptr;
    int workers = 1;  // these three and stopping are published by generation
    bool stopping = false;
    alignas(64) std::atomic<uint32_t> running{0};
    alignas(64) std::atomic<uint32_t> sleeping_workers{0};
    std::atomic<uint32_t> sleeping_owner{0};
    std::vector<std::thread> threads;

    void publish() {
        generation.fetch_add(1, std::memory_order_seq_cst);
        if (sleeping_workers.load(std::memory_order_seq_cst) != 0) futex_wake_all(generation);
    }

    void work(int worker) {
        uint32_t seen = 0;
        while (true) {
            const auto changed = [&] { return generation.load(std::memory_order_acquire) != seen; };
            if (!spin_until(changed)) {
                sleeping_workers.fetch_add(1, std::memory_order_seq_cst);
                while (generation.load(std::memory_order_seq_cst) == seen) futex_wait(generation, seen);
                sleeping_workers.fetch_sub(1, std::memory_order_seq_cst);
            }
            ++seen;  // the owner never runs ahead: it waits for this worker before the next bump
            if (stopping) return;
            function(context, worker, workers);
            if (running.fetch_sub(1, std::memory_order_seq_cst) == 1 &&
                sleeping_owner.load(std::memory_order_seq_cst) != 0)
                futex_wake_all(running);
        }
    }

    void wait_for_workers() {
        if (spin_until([&] { return running.load(std::memory_order_acquire) == 0; })) return;
        sleeping_owner.store(1, std::memory_order_seq_cst);
        while (const uint32_t left = running.load(std::memory_order_seq_cst)) futex_wait(running, left);
        sleeping_owner.store(0, std::memory_order_relaxed);
    }

    // Called with no region running.
    void stop() {
        stopping = true;
        publish();
        for (std::thread& thread : threads) thread.join();
        threads.clear();
    }
};

ThreadPool::ThreadPool(int threads, bool pin) : state_(std::make_unique<State>()) {
    const Processors processors = read_processors();
    if (threads <= 0) {
        threads = processors.cores;
        if (const auto quota = read_cgroup_limits().processors)
            threads = std::min(threads, std::max(1, static_cast<int>(*quota)));
    }
    // With more workers than processors the scheduler must be free to share them out.
    if (threads > static_cast<int>(processors.order.size())) pin = false;
    for (int worker = 1; worker < threads; ++worker) {
        try {
            state_->threads.emplace_back([state = state_.get(), worker] { state->work(worker); });
        } catch (const std::system_error&) {
            break;  // the process may have no more threads: a smaller crew does the same work
        }
        const pthread_t thread = state_->threads.back().native_handle();
        pthread_setname_np(thread, ("pool " + std::to_string(worker)).c_str());
        if (pin) pin_to(thread, processors.order[static_cast<size_t>(worker)]);
    }
    size_ = static_cast<int>(state_->threads.size()) + 1;
    state_->workers = size_;
}

ThreadPool::~ThreadPool() {
    state_->stop();
}

void ThreadPool::run_erased(Function function, void* context) {
    if (size_ == 1) return function(context, 0, 1);
    State& state = *state_;
    CHECK(state.running.load(std::memory_order_relaxed) == 0, "a pool's region was started inside another");
    state.function = function;
    state.context = context;
    state.running.store(static_cast<uint32_t>(size_) - 1, std::memory_order_relaxed);
    state.publish();
    function(context, 0, size_);
    state.wait_for_workers();
}

}  // namespace base
}  // namespace nibble
