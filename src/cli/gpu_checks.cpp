// Checks of GPUs for `doctor`: pure judgements of what NVML told. Declared in host_checks.h.
#include "base/bytes.h"
#include "cli/host_checks.h"
#include "cli/known_devices.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace nibble::cli {
namespace {

using State = Check::State;

constexpr double kHot_c = 85;
constexpr double kExpectedShare = 0.85;  // of the bandwidth that a device is known to give

std::string version_text(int cuda) {
    return fmt::format("{}.{}", cuda / 1000, cuda % 1000 / 10);
}

Check check_capability(const device::GpuReading& gpu, const GpuFacts& facts) {
    const std::string what = fmt::format("GPU {}", gpu.index);
    std::string found =
        fmt::format("{}, compute capability {}.{}", gpu.name, gpu.compute_capability / 10, gpu.compute_capability % 10);
    if (gpu.memory_total_bytes)
        found += fmt::format(", {} of memory, {} in use", describe_bytes(*gpu.memory_total_bytes),
                             describe_bytes(gpu.memory_used_bytes.value_or(0)));
    else
        found += ", memory shared with the host: its driver tells none, the kernel's MemAvailable is used";
    if (!facts.has_backend)
        return {State::warning, what, found, "this build has no CUDA kernels: the model runs on the processor",
                "install the CUDA package of nibble"};
    if (std::find(facts.built_for.begin(), facts.built_for.end(), gpu.compute_capability) == facts.built_for.end())
        return {State::warning, what, found,
                fmt::format("this binary has kernels for {} alone", fmt::join(facts.built_for, ", ")),
                "build nibble for it, or use another GPU"};
    return {State::ok, what, found, {}, {}};
}

void check_state(const device::GpuReading& gpu, std::vector<Check>& checks) {
    const std::string what = fmt::format("GPU {} clocks", gpu.index);
    std::string found;
    const auto add = [&](std::string text) { found += (found.empty() ? "" : ", ") + std::move(text); };
    if (gpu.sm_clock_mhz)
        add(fmt::format("SM {:.0f}{} MHz", *gpu.sm_clock_mhz,
                        gpu.max_sm_clock_mhz ? fmt::format(" of {:.0f}", *gpu.max_sm_clock_mhz) : ""));
    if (gpu.memory_clock_mhz) add(fmt::format("memory {:.0f} MHz", *gpu.memory_clock_mhz));
    if (gpu.temperature_c) add(fmt::format("{:.0f} degrees", *gpu.temperature_c));
    if (gpu.power_w) add(fmt::format("{:.0f} W", *gpu.power_w));
    const auto slowed = device::throttle_names(gpu.throttle_reasons.value_or(0));
    if (!slowed.empty())
        checks.push_back({State::warning, what, fmt::format("{}; held down by: {}", found, fmt::join(slowed, ", ")),
                          "every figure is below what the GPU can do",
                          "look after cooling and power; nvidia-smi -rgc gives clocks free that were set by hand"});
    else if (gpu.temperature_c.value_or(0) >= kHot_c)
        checks.push_back({State::warning, what, found, "clocks will be held down under load", "look after cooling"});
    else
        checks.push_back({State::ok, what, found.empty() ? "not told" : found, {}, {}});
    if (gpu.power_limit_w) {
        const std::string limit = fmt::format("GPU {} power cap", gpu.index);
        const double usual = gpu.default_power_limit_w.value_or(*gpu.power_limit_w);
        if (*gpu.power_limit_w < usual - 1)
            checks.push_back({State::warning, limit,
                              fmt::format("{:.0f} W, {:.0f} W is usual", *gpu.power_limit_w, usual),
                              "clocks fall under load, prompts are read more slowly",
                              fmt::format("nvidia-smi -i {} -pl {:.0f}", gpu.index, usual)});
        else
            checks.push_back({State::ok, limit, fmt::format("{:.0f} W", *gpu.power_limit_w), {}, {}});
    }
    if (gpu.persistence && !*gpu.persistence)
        checks.push_back({State::warning, fmt::format("GPU {} persistence", gpu.index), "off",
                          "the driver starts anew with every program: seconds at each start",
                          "systemctl enable --now nvidia-persistenced"});
}

}  // namespace

std::vector<Check> check_gpus(const Result<device::NvmlReading>& nvml, const GpuFacts& facts) {
    if (!nvml) return {{State::ok, "GPU driver", nvml.error().message + "; the processor is used", {}, {}}};
    std::vector<Check> checks;
    const std::string found =
        fmt::format("{}, speaks CUDA {}", nvml->driver.empty() ? "version not told" : nvml->driver,
                    version_text(nvml->cuda_version));
    if (facts.has_backend && nvml->cuda_version < facts.needs_cuda)
        checks.push_back({State::warning, "GPU driver", found,
                          fmt::format("this binary needs CUDA {}: no GPU can be used", version_text(facts.needs_cuda)),
                          "update the driver"});
    else
        checks.push_back({State::ok, "GPU driver", found, {}, {}});
    if (nvml->gpus.empty())
        checks.push_back(
            {State::warning, "GPU", "the driver shows none", "the processor is used", "nvidia-smi; dmesg | grep NVRM"});
    for (const device::GpuReading& gpu : nvml->gpus) {
        checks.push_back(check_capability(gpu, facts));
        check_state(gpu, checks);
    }
    return checks;
}

Check judge_bandwidth(const device::Device& device, double bytes_per_second) {
    const double gb_s = bytes_per_second / 1e9;
    const std::string found =
        fmt::format("{:.1f} GB/s read from {}", gb_s, device.is_cpu() ? "the host's memory" : device.name);
    for (const KnownDevice& known : known_devices()) {
        if (device.is_cpu() || device.name != known.title) continue;
        if (gb_s < kExpectedShare * known.read_gb_s)
            return {State::warning, "read bandwidth", fmt::format("{}, {:.0f} is usual", found, known.read_gb_s),
                    "the ceiling falls with it", "end other programs; see clocks and power above"};
    }
    return {State::ok, "read bandwidth", found, {}, {}};
}

}  // namespace nibble::cli
