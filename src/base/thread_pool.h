// ThreadPool: a fixed crew for data-parallel loops. One owner thread calls run(); it works too, as worker 0.
//
// Workers spin for a few microseconds between loops of the same step and then sleep on a futex, so an idle process uses
// no CPU. Workers are pinned, one a core of the process's affinity mask (SMT siblings last), unless there are more of
// them than processors; the caller is never pinned.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace nibble {
inline namespace base {

class ThreadPool {
public:
    // threads == 0: the physical cores of the affinity mask, less what a cgroup quota forbids. Where the system refuses
    // more threads, size() is smaller than asked for.
    explicit ThreadPool(int threads = 0, bool pin = true);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    int size() const { return size_; }

    // Calls body(worker, workers) on every worker at once and returns when all are done. What a worker wrote is visible
    // to the caller. Not reentrant; bodies must not throw.
    template <class Body>
    void run(Body&& body) {
        run_erased([](void* context, int worker,
                      int workers) { (*static_cast<std::remove_reference_t<Body>*>(context))(worker, workers); },
                   const_cast<void*>(static_cast<const void*>(&body)));
    }

    // Splits [0, count) into one contiguous range a worker, cut at multiples of `grain`: body(begin, end, worker).
    template <class Body>
    void parallel_for(int64_t count, int64_t grain, Body&& body) {
        const int64_t units = (count + grain - 1) / grain;
        if (units <= 1 || size_ == 1) {
            if (count > 0) body(int64_t{0}, count, 0);
            return;
        }
        run([&](int worker, int workers) {
            const int64_t begin = units * worker / workers * grain;
            int64_t end = units * (worker + 1) / workers * grain;
            if (end > count) end = count;
            if (begin < end) body(begin, end, worker);
        });
    }

private:
    using Function = void (*)(void* context, int worker, int workers);
    void run_erased(Function function, void* context);

    struct State;
    std::unique_ptr<State> state_;
    int size_ = 1;
};

}  // namespace base
}  // namespace nibble
