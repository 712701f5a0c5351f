// MemoryGuard: watches the memory that a server shares with its host, so that it takes no more work before the kernel
// stalls. What runs goes on: its memory was allocated before serving began.
//
// GuardPolicy is pure. The reader takes the folder under which /proc and /sys lie. MemoryGuard owns one thread, which
// reads ten times a second and calls on_change from it.
#pragma once

#include "base/result.h"
#include "device/device.h"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace nibble::cli {

struct MemoryPressure {
    device::MemoryReading memory;  // of the host, or of the control group if that is tighter
    double stall_percent = 0;      // of the last ten seconds in which every task waited for memory; 0: not told
};

// Errors: device_unusable when /proc/meminfo cannot be read or cannot be true.
Result<MemoryPressure> read_memory_pressure(const std::string& root = "");

enum class Admittance : uint8_t {
    open,
    closed,    // new work is refused
    shedding,  // and what waits is ended
};

struct GuardLimits {
    int64_t shed_below_bytes = 0, close_below_bytes = 0, open_above_bytes = 0;
    double shed_stall_percent = 40, close_stall_percent = 20, open_stall_percent = 5;
    int calm_readings = 20;  // in a row before it opens again, or ends shedding
};
// 4 and 8 GiB where there is so much memory that the plan's reserve is more; else parts of the total.
GuardLimits guard_limits(int64_t total_bytes);

class GuardPolicy {
public:
    explicit GuardPolicy(const GuardLimits& limits) : limits_(limits) {}
    // Worse comes at once, better step by step after calm_readings that allow it.
    Admittance next(const MemoryPressure& now);
    Admittance state() const { return state_; }

private:
    GuardLimits limits_;
    Admittance state_ = Admittance::open;
    int calm_ = 0;
};

// "3.1 GiB of 121.0 GiB are available, and all tasks waited for memory for 12 % of the last 10 s".
std::string describe(const MemoryPressure& pressure);

class MemoryGuard {
public:
    struct Options {
        std::string root;
        std::chrono::milliseconds period{100};
        // From the guard's thread: on every change, and again each second while shedding.
        std::function<void(Admittance, const MemoryPressure&)> on_change;
        // Once each time that readings become unusable; what was decided last holds.
        std::function<void(const Error&)> on_error;
    };
    // Errors: as read_memory_pressure; then there is nothing to watch.
    static Result<std::unique_ptr<MemoryGuard>> start(Options options);
    ~MemoryGuard();

private:
    explicit MemoryGuard(Options options) : options_(std::move(options)) {}
    void watch(GuardPolicy policy);

    const Options options_;
    std::mutex mutex_;
    std::condition_variable wake_;
    bool stopping_ = false;
    std::thread thread_;
};

// Makes this process the kernel's first choice when memory runs out: a positive oom_score_adj. False: refused.
bool prefer_for_oom_kill(const std::string& root = "");

}  // namespace nibble::cli
