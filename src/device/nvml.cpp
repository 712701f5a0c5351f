#include "device/nvml.h"

#include <dlfcn.h>

#include <array>

namespace nibble::device {
namespace {

// The part of NVML's interface that is used, as its documentation gives it. Every function returns 0 for success.
using Handle = void*;
constexpr unsigned kSmClock = 1, kMemoryClock = 2, kGpuSensor = 0;
struct MemoryCounts {
    unsigned long long total, free, used;
};

class Library {
public:
    explicit Library(const std::string& name) : handle_(dlopen(name.c_str(), RTLD_LAZY | RTLD_LOCAL)) {}
    ~Library() {
        if (handle_ != nullptr) dlclose(handle_);
    }
    Library(const Library&) = delete;
    Library& operator=(const Library&) = delete;

    bool open() const { return handle_ != nullptr; }
    // Calls the function; false when there is none of that name or it fails.
    template <class... Args>
    bool call(const char* function, Args... args) const {
        return status(function, args...) == 0;
    }
    template <class... Args>
    int status(const char* function, Args... args) const {
        void* symbol = dlsym(handle_, function);
        if (symbol == nullptr) return -1;
        return reinterpret_cast<int (*)(Args...)>(symbol)(args...);
    }
    std::string error_text(int status) const {
        void* symbol = dlsym(handle_, "nvmlErrorString");
        const char* text = symbol != nullptr ? reinterpret_cast<const char* (*)(int)>(symbol)(status) : nullptr;
        return text != nullptr ? text : "error " + std::to_string(status);
    }

private:
    void* handle_;
};

template <size_t N>
std::string text_of(std::array<char, N>& text) {
    text.back() = '\0';
    return text.data();
}

std::optional<double> thousandths(const Library& nvml, const char* function, Handle gpu) {
    unsigned value = 0;
    if (!nvml.call(function, gpu, &value)) return std::nullopt;
    return value / 1e3;
}

std::optional<double> clock_of(const Library& nvml, const char* function, Handle gpu, unsigned which) {
    unsigned value = 0;
    if (!nvml.call(function, gpu, which, &value)) return std::nullopt;
    return value;
}

GpuReading read_gpu(const Library& nvml, Handle gpu, int index) {
    GpuReading reading{.index = index};
    std::array<char, 128> text{};
    const auto size = static_cast<unsigned>(text.size());
    if (nvml.call("nvmlDeviceGetName", gpu, text.data(), size)) reading.name = text_of(text);
    if (nvml.call("nvmlDeviceGetUUID", gpu, text.data(), size)) reading.uuid = text_of(text);
    int major = 0, minor = 0;
    if (nvml.call("nvmlDeviceGetCudaComputeCapability", gpu, &major, &minor))
        reading.compute_capability = major * 10 + minor;
    reading.sm_clock_mhz = clock_of(nvml, "nvmlDeviceGetClockInfo", gpu, kSmClock);
    reading.max_sm_clock_mhz = clock_of(nvml, "nvmlDeviceGetMaxClockInfo", gpu, kSmClock);
    reading.memory_clock_mhz = clock_of(nvml, "nvmlDeviceGetClockInfo", gpu, kMemoryClock);
    reading.max_memory_clock_mhz = clock_of(nvml, "nvmlDeviceGetMaxClockInfo", gpu, kMemoryClock);
    reading.power_w = thousandths(nvml, "nvmlDeviceGetPowerUsage", gpu);
    reading.power_limit_w = thousandths(nvml, "nvmlDeviceGetEnforcedPowerLimit", gpu);
    reading.default_power_limit_w = thousandths(nvml, "nvmlDeviceGetPowerManagementDefaultLimit", gpu);
    unsigned degrees = 0;
    if (nvml.call("nvmlDeviceGetTemperature", gpu, kGpuSensor, &degrees)) reading.temperature_c = degrees;
    unsigned long long reasons = 0;
    if (nvml.call("nvmlDeviceGetCurrentClocksThrottleReasons", gpu, &reasons)) reading.throttle_reasons = reasons;
    MemoryCounts memory{};
    if (nvml.call("nvmlDeviceGetMemoryInfo", gpu, &memory) && memory.total > 0 && memory.used <= memory.total) {
        reading.memory_total_bytes = memory.total;
        reading.memory_used_bytes = memory.used;
    }
    unsigned persistence = 0;
    if (nvml.call("nvmlDeviceGetPersistenceMode", gpu, &persistence)) reading.persistence = persistence != 0;
    return reading;
}

}  // namespace

Result<NvmlReading> read_nvml(const std::string& library) {
    const Library nvml(library);
    if (!nvml.open()) return error(ErrorCode::device_unusable, "there is no NVIDIA driver: {} is not found", library);
    if (const int status = nvml.status("nvmlInit_v2"); status != 0)
        return error(ErrorCode::device_unusable, "the NVIDIA driver does not answer: {}", nvml.error_text(status));
    NvmlReading reading;
    std::array<char, 128> text{};
    if (nvml.call("nvmlSystemGetDriverVersion", text.data(), static_cast<unsigned>(text.size())))
        reading.driver = text_of(text);
    nvml.call("nvmlSystemGetCudaDriverVersion_v2", &reading.cuda_version);
    unsigned count = 0;
    nvml.call("nvmlDeviceGetCount_v2", &count);
    for (unsigned index = 0; index < count && index < 1024; ++index) {
        Handle gpu = nullptr;
        if (nvml.call("nvmlDeviceGetHandleByIndex_v2", index, &gpu))
            reading.gpus.push_back(read_gpu(nvml, gpu, static_cast<int>(index)));
    }
    nvml.call("nvmlShutdown");
    return reading;
}

const GpuReading* find_reading(const NvmlReading& nvml, const Device& device) {
    if (device.is_cpu()) return nullptr;
    const GpuReading* same_name = nullptr;
    for (const GpuReading& gpu : nvml.gpus) {
        if (gpu.name != device.name) continue;
        if (gpu.index == device.index) return &gpu;
        if (same_name == nullptr) same_name = &gpu;
    }
    return same_name;
}

std::vector<std::string_view> throttle_names(uint64_t reasons) {
    constexpr std::array<std::pair<uint64_t, std::string_view>, 7> kNames = {{{0x2, "clocks set by hand"},
                                                                              {0x4, "power cap"},
                                                                              {0x8, "hardware slowdown"},
                                                                              {0x10, "kept equal to another GPU's"},
                                                                              {0x20, "thermal limit"},
                                                                              {0x40, "hardware thermal slowdown"},
                                                                              {0x80, "hardware power brake"}}};
    std::vector<std::string_view> names;
    for (const auto& [bit, name] : kNames)
        if (reasons & bit) names.push_back(name);
    return names;
}

}  // namespace nibble::device
