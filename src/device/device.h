// Device: where tensors live and ops run. Found once at start and immutable afterwards; any thread.
#pragma once

#include "base/result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::device {

enum class DeviceKind : uint8_t { cpu, cuda };

struct Device {
    DeviceKind kind = DeviceKind::cpu;
    int index = 0;               // CUDA ordinal
    std::string name;            // "AMD EPYC …", "NVIDIA H200"
    int compute_capability = 0;  // 90, 120, 121; 0 for a CPU
    int multiprocessors = 0;
    int64_t memory_bytes = 0;  // of the device; the host's RAM for a CPU
    int64_t l2_bytes = 0;      // last-level cache
    int64_t shared_memory_per_block_bytes = 0;
    bool unified_memory = false;  // the device's memory is the host's (GB10)

    bool is_cpu() const { return kind == DeviceKind::cpu; }
};

Device cpu_device();
// Every CUDA device of this machine that the driver shows, usable or not. Empty when there is no driver or the build
// has no CUDA.
std::vector<Device> cuda_devices();
// "cpu", "cuda", "cuda:1", "auto" (the first GPU that this binary has kernels for, else the CPU).
// Errors: device_unusable, in one sentence with what to do.
Result<Device> find_device(std::string_view name);

// Bytes that may be allocated now, as the device and the kernel report them.
struct MemoryReading {
    int64_t total_bytes = 0;
    int64_t available_bytes = 0;
};
Result<MemoryReading> read_memory(const Device& device);

}  // namespace nibble::device
