// Checks of a machine for `doctor`: what is there, what it means for serving, and what to do about it. Readers take the
// folder under which /proc, /sys, /usr and so on lie; what is read is judged by pure functions. Any thread.
#pragma once

#include "base/result.h"
#include "device/device.h"
#include "device/nvml.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace nibble::cli {

struct Check {
    enum class State { ok, warning, failed } state = State::ok;
    std::string what;         // "huge pages"
    std::string found;        // "transparent huge pages: never"
    std::string consequence;  // of a warning: what will be slow, or go wrong
    std::string remedy;       // a command where there is one
};
const char* state_name(Check::State state);

// Processor, memory, swap, page cache, huge pages, pressure, control group, limits of the process.
// unified: a GPU shares the host's memory.
std::vector<Check> check_host(const std::string& root, bool unified);
// Libraries and devices that several GPUs or machines need.
std::vector<Check> check_fabric(const std::string& root, size_t gpus);
// The folder where models are looked for; nothing when the environment names none.
Check check_hub_cache(const std::optional<std::filesystem::path>& folder);

struct GpuFacts {
    bool has_backend = false;        // this binary has kernels at all
    std::span<const int> built_for;  // compute capabilities
    int needs_cuda = 13000;          // that the driver must speak
};
// One line for the driver, some for each GPU that it shows.
std::vector<Check> check_gpus(const Result<device::NvmlReading>& nvml, const GpuFacts& facts);

// Beside what the device is known to give, if it is known; bytes per second.
Check judge_bandwidth(const device::Device& device, double bytes_per_second);

}  // namespace nibble::cli
