#include "device/device.h"

#include "base/host.h"
#include "device/cuda.h"
#include "device/have_cuda.h"
#include "device/host_memory.h"

#include <fmt/format.h>
#include <sys/utsname.h>

#include <algorithm>
#include <charconv>
#include <set>

namespace nibble::device {
namespace {

// The first "name : value" of /proc/cpuinfo; ARM kernels write no model name there.
std::string processor_name() {
    const std::string text = read_kernel_file("/proc/cpuinfo").value_or("");
    for (const std::string_view field : {"model name", "Model", "cpu model", "uarch"}) {
        size_t at = text.starts_with(field) ? 0 : text.find("\n" + std::string(field));
        if (at == std::string::npos) continue;
        const size_t colon = text.find(':', at);
        const size_t end = text.find('\n', at + 1);
        if (colon == std::string::npos || colon > end) continue;
        const size_t begin = text.find_first_not_of(" \t", colon + 1);
        if (begin < end) return text.substr(begin, end == std::string::npos ? end : end - begin);
    }
    utsname system;
    return uname(&system) == 0 ? fmt::format("{} CPU", system.machine) : "CPU";
}

// "32768K", "32M" -> bytes.
int64_t parse_cache_size(std::string_view text) {
    int64_t value = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failure != std::errc() || value < 0 || value > (int64_t{1} << 30)) return 0;
    const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
    return unit.starts_with('M') ? value << 20 : unit.starts_with('K') ? value << 10 : value;
}

// The last level of cache, all its parts that our processors reach.
int64_t last_level_cache_bytes(const std::vector<int>& processors) {
    int level = 0;
    int64_t bytes = 0;
    std::set<std::string> parts;
    for (const int cpu : processors) {
        for (int index = 0; index < 8; ++index) {
            const std::string cache = fmt::format("/sys/devices/system/cpu/cpu{}/cache/index{}/", cpu, index);
            const auto level_text = read_kernel_file(cache + "level");
            const auto size_text = read_kernel_file(cache + "size");
            if (!level_text || !size_text || level_text->size() != 1) continue;
            if (read_kernel_file(cache + "type").value_or("") == "Instruction") continue;
            const int found = (*level_text)[0] - '0';
            if (found > level) {
                level = found;
                bytes = 0;
                parts.clear();
            }
            const std::string shared_with = read_kernel_file(cache + "shared_cpu_list").value_or("");
            if (found == level && parts.insert(shared_with).second) bytes += parse_cache_size(*size_text);
        }
    }
    return bytes;
}

Result<Device> find_cuda(int index) {
    const std::vector<Device> devices = cuda_devices();
    std::string reason;
    if constexpr (kHaveCuda) {
        if (devices.empty()) reason = cuda::why_no_devices();
    } else {
        reason = "this build of nibble has no CUDA backend; use the CUDA package, or --device cpu";
    }
    if (!reason.empty()) return error(ErrorCode::device_unusable, "device cuda:{}: {}", index, reason);
    for (const Device& device : devices) {
        if (device.index != index) continue;
        if constexpr (kHaveCuda) reason = cuda::why_unusable(device);
        if (!reason.empty())
            return error(ErrorCode::device_unusable, "device cuda:{} ({}): {}", index, device.name, reason);
        return device;
    }
    return error(ErrorCode::device_unusable, "device cuda:{}: this machine has {} CUDA device{}, numbered from 0",
                 index, devices.size(), devices.size() == 1 ? "" : "s");
}

}  // namespace

Device cpu_device() {
    const Processors processors = read_processors();
    Device device;
    device.name = processor_name();
    device.multiprocessors = processors.cores;
    device.l2_bytes = last_level_cache_bytes(processors.order);
    device.unified_memory = true;
    if (const auto reading = read_memory(device)) device.memory_bytes = reading->total_bytes;
    return device;
}

std::vector<Device> cuda_devices() {
    if constexpr (kHaveCuda) return cuda::list_devices();
    return {};
}

Result<Device> find_device(std::string_view name) {
    if (name == "cpu") return cpu_device();
    if (name == "auto") {
        if constexpr (kHaveCuda)
            for (const Device& device : cuda_devices())
                if (cuda::why_unusable(device).empty()) return device;
        return cpu_device();
    }
    if (name == "cuda") return find_cuda(0);
    constexpr std::string_view kPrefix = "cuda:";
    if (name.starts_with(kPrefix)) {
        int index = -1;
        const char* end = name.data() + name.size();
        const auto parsed = std::from_chars(name.data() + kPrefix.size(), end, index);
        if (parsed.ec == std::errc() && parsed.ptr == end && index >= 0) return find_cuda(index);
    }
    return error(ErrorCode::usage, "device '{}': expected cpu, cuda, cuda:N or auto", name);
}

Result<MemoryReading> read_memory(const Device& device) {
    // On memory shared with the host the driver counts the page cache as used; the kernel knows better.
    if (!device.is_cpu() && !device.unified_memory) {
        if constexpr (kHaveCuda) return cuda::read_memory(device.index);
    }
    const auto meminfo = read_kernel_file("/proc/meminfo");
    if (!meminfo)
        return error(ErrorCode::device_unusable, "/proc/meminfo cannot be read; no memory budget can be made");
    return host_memory(*meminfo, read_cgroup_limits());
}

}  // namespace nibble::device
