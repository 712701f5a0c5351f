// The times of a step's operations, on the CPU and on each GPU of this machine: given to a stream, or captured.
#include "ops/step_timer.h"

#include "device/buffer.h"
#include "device/graph.h"

#include <gtest/gtest.h>

#include <vector>

namespace nibble::ops {
namespace {

constexpr int64_t kBytes = int64_t{32} << 20;

std::vector<device::Device> devices() {
    std::vector<device::Device> all = {device::cpu_device()};
    for (const device::Device& gpu : device::cuda_devices()) all.push_back(gpu);
    return all;
}

struct Copy {
    explicit Copy(const device::Device& its)
        : device(its),
          from(*device::Buffer::allocate_pinned(its, kBytes, "from")),
          to(*device::Buffer::allocate(its, kBytes, "to")),
          stream(device::create_stream(its)) {}
    ~Copy() { device::destroy_stream(device, stream); }
    // Two operations: of some bytes, and of all.
    void give(StepTimer& timer) const {
        for (const int64_t bytes : {int64_t{64}, kBytes}) {
            timer.start(stream);
            device::copy_to_device(device, stream, to.data(), from.data(), bytes);
            timer.stop(stream);
        }
    }
    std::vector<double> times(const StepTimer& timer) const {
        device::synchronize(device, stream);
        Program program;
        program.steps.resize(2);
        timer.read_into(program);
        return {program.steps[0].microseconds, program.steps[1].microseconds};
    }
    const device::Device device;
    const device::Buffer from, to;
    const device::Stream stream;
};

TEST(StepTimer, TellsWhatEachOperationTook) {
    for (const device::Device& device : devices()) {
        const Copy copy(device);
        StepTimer timer(device, 1);  // the events of the second are made when it comes
        copy.give(timer);
        const std::vector<double> took = copy.times(timer);
        EXPECT_GE(took[0], 0) << device.name;
        EXPECT_GT(took[1], 100) << device.name;  // 320 GB/s
        if (!device.is_cpu()) {
            EXPECT_LT(took[0], took[1]) << device.name;
        }
    }
}

TEST(StepTimer, TellsItOfACapturedStepEachTimeItIsLaunched) {
    for (const device::Device& device : devices()) {
        if (device.is_cpu()) continue;
        const Copy copy(device);
        StepTimer timer(device, 2);
        const device::Graph graph = device::Graph::capture(device, copy.stream, [&] { copy.give(timer); });
        for (int launch = 0; launch < 2; ++launch) {
            graph.launch(copy.stream);
            const std::vector<double> took = copy.times(timer);
            EXPECT_GT(took[1], 100) << device.name;
            EXPECT_LT(took[0], took[1]) << device.name;
        }
    }
}

}  // namespace
}  // namespace nibble::ops
