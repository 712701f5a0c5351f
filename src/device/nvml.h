// Nvml: what the NVIDIA driver's management library says of the GPUs: clocks, power, temperature, why clocks are held
// down. The library is opened when asked for and closed again; without a driver there is an error and nothing else.
// Any thread. For people and records: no decision about memory is made from it.
#pragma once

#include "base/result.h"
#include "device/device.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::device {

// A value that the driver does not tell is absent: on a GB10, which has no memory of its own, memory and power limits
// are among them.
struct GpuReading {
    int index = 0;  // the library's, which knows no CUDA_VISIBLE_DEVICES
    std::string name, uuid;
    int compute_capability = 0;
    std::optional<double> sm_clock_mhz, max_sm_clock_mhz, memory_clock_mhz, max_memory_clock_mhz;
    std::optional<double> power_w, power_limit_w, default_power_limit_w;
    std::optional<double> temperature_c;
    std::optional<uint64_t> throttle_reasons;  // bits; throttle_names()
    std::optional<uint64_t> memory_total_bytes, memory_used_bytes;
    std::optional<bool> persistence;
};

struct NvmlReading {
    std::string driver;    // "580.159.04"
    int cuda_version = 0;  // that the driver speaks: 13000 is 13.0
    std::vector<GpuReading> gpus;
};

// Errors: device_unusable: there is no library, or the driver does not answer; worded with the reason.
Result<NvmlReading> read_nvml(const std::string& library = "libnvidia-ml.so.1");

// The GPU that a device is: by name where the order of the two lists differs. Null: none.
const GpuReading* find_reading(const NvmlReading& nvml, const Device& device);

// "power cap", "thermal limit", …; idleness has no name.
std::vector<std::string_view> throttle_names(uint64_t reasons);

}  // namespace nibble::device
