// StepTimer: how long each operation of a profiled step took. On a GPU by events in the stream, read when the step has
// ended, so that nothing is waited for in between; on the CPU by the clock. Owned by who profiles; one thread.
#pragma once

#include "device/device.h"
#include "device/event.h"
#include "device/stream.h"
#include "ops/program.h"

#include <chrono>
#include <cstdint>
#include <vector>

namespace nibble::ops {

class StepTimer {
public:
    // operations: as many have their events made beforehand; more are made when they come.
    StepTimer(const device::Device& device, int64_t operations);

    // Around the launches of one operation, which is then appended to the program.
    void start(device::Stream stream);
    void stop(device::Stream stream);
    // Writes the times into the program's steps, which are those that were timed, in order. The stream has been waited
    // for.
    void read_into(Program& program) const;

private:
    using Clock = std::chrono::steady_clock;
    struct Pair {
        device::Event before, after;
    };
    const device::Device device_;
    std::vector<Pair> events_;          // GPU
    std::vector<double> microseconds_;  // CPU
    Clock::time_point started_;
    size_t timed_ = 0;
    bool running_ = false;
};

}  // namespace nibble::ops
