// device/cuda.h on the CUDA runtime.
#include "base/check.h"
#include "device/cuda.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace nibble::device::cuda {
namespace {

constexpr std::array kBuiltFor = {90, 120, 121};

void check(cudaError_t status, const char* what) {
    CHECK(status == cudaSuccess, "{}: {} ({})", what, cudaGetErrorString(status), cudaGetErrorName(status));
}

void use(int index) {
    check(cudaSetDevice(index), "cudaSetDevice");
}

}  // namespace

std::vector<Device> list_devices() {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess) {
        cudaGetLastError();  // reported by why_no_devices(), not by a later call
        return {};
    }
    std::vector<Device> devices;
    for (int index = 0; index < count; ++index) {
        cudaDeviceProp properties{};
        if (cudaGetDeviceProperties(&properties, index) != cudaSuccess) continue;
        devices.push_back({.kind = DeviceKind::cuda,
                           .index = index,
                           .name = properties.name,
                           .compute_capability = properties.major * 10 + properties.minor,
                           .multiprocessors = properties.multiProcessorCount,
                           .memory_bytes = static_cast<int64_t>(properties.totalGlobalMem),
                           .l2_bytes = properties.l2CacheSize,
                           .shared_memory_per_block_bytes = static_cast<int64_t>(properties.sharedMemPerBlockOptin),
                           .unified_memory = properties.integrated != 0});
    }
    return devices;
}

std::string why_unusable(const Device& device) {
    if (std::find(kBuiltFor.begin(), kBuiltFor.end(), device.compute_capability) == kBuiltFor.end())
        return fmt::format(
            "{} has compute capability {}.{}; this binary has kernels for 9.0 (H100, H200), 12.0 (RTX "
            "Blackwell) and 12.1 (GB10): use --device cpu or another GPU",
            device.name, device.compute_capability / 10, device.compute_capability % 10);
    return {};
}

std::string why_no_devices() {
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    cudaGetLastError();
    if (status == cudaErrorInsufficientDriver) {
        int driver = 0;
        cudaDriverGetVersion(&driver);
        return driver == 0
                   ? "there is no NVIDIA driver on this machine: install one, or use --device cpu"
                   : fmt::format("the NVIDIA driver speaks CUDA {}.{}, this binary needs {}.{}: update the driver",
                                 driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    }
    if (status == cudaErrorNoDevice || count == 0)
        return "the NVIDIA driver shows no GPU (is CUDA_VISIBLE_DEVICES empty?): use --device cpu";
    return fmt::format("the NVIDIA driver does not answer: {}", cudaGetErrorString(status));
}

Result<MemoryReading> read_memory(int index) {
    size_t available = 0, total = 0;
    if (cudaSetDevice(index) != cudaSuccess || cudaMemGetInfo(&available, &total) != cudaSuccess)
        return error(ErrorCode::device_unusable, "GPU {}: its memory cannot be read: {}", index,
                     cudaGetErrorString(cudaGetLastError()));
    return MemoryReading{.total_bytes = static_cast<int64_t>(total),
                         .available_bytes = static_cast<int64_t>(available)};
}

std::byte* allocate(int index, int64_t bytes) {
    use(index);
    void* data = nullptr;
    if (cudaMalloc(&data, static_cast<size_t>(bytes)) != cudaSuccess) {
        cudaGetLastError();
        return nullptr;
    }
    check(cudaMemset(data, 0, static_cast<size_t>(bytes)), "cudaMemset");
    check(cudaStreamSynchronize(nullptr), "cudaMemset");  // other streams do not wait for the default one
    return static_cast<std::byte*>(data);
}

void free(int index, std::byte* data) {
    use(index);
    check(cudaFree(data), "cudaFree");
}

std::byte* allocate_host(int index, int64_t bytes) {
    use(index);
    void* data = nullptr;
    if (cudaHostAlloc(&data, static_cast<size_t>(bytes), cudaHostAllocDefault) != cudaSuccess) {
        cudaGetLastError();
        return nullptr;
    }
    std::memset(data, 0, static_cast<size_t>(bytes));
    return static_cast<std::byte*>(data);
}

void free_host(int index, std::byte* data) {
    use(index);
    check(cudaFreeHost(data), "cudaFreeHost");
}

Stream create_stream(int index) {
    use(index);
    cudaStream_t stream = nullptr;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
    return {stream};
}

void destroy_stream(int index, Stream stream) {
    use(index);
    check(cudaStreamDestroy(static_cast<cudaStream_t>(stream.handle)), "cudaStreamDestroy");
}

void copy_to_device(int index, Stream stream, void* device_data, const void* host_data, int64_t bytes) {
    use(index);
    check(cudaMemcpyAsync(device_data, host_data, static_cast<size_t>(bytes), cudaMemcpyHostToDevice,
                          static_cast<cudaStream_t>(stream.handle)),
          "cudaMemcpyAsync to the device");
}

void copy_to_host(int index, Stream stream, void* host_data, const void* device_data, int64_t bytes) {
    use(index);
    check(cudaMemcpyAsync(host_data, device_data, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost,
                          static_cast<cudaStream_t>(stream.handle)),
          "cudaMemcpyAsync to the host");
}

void synchronize(int index, Stream stream) {
    use(index);
    check(cudaStreamSynchronize(static_cast<cudaStream_t>(stream.handle)), "cudaStreamSynchronize");
}

void begin_capture(int index, Stream stream) {
    use(index);
    check(cudaStreamBeginCapture(static_cast<cudaStream_t>(stream.handle), cudaStreamCaptureModeThreadLocal),
          "cudaStreamBeginCapture");
}

void* end_capture(int index, Stream stream) {
    use(index);
    cudaGraph_t graph = nullptr;
    check(cudaStreamEndCapture(static_cast<cudaStream_t>(stream.handle), &graph), "cudaStreamEndCapture");
    cudaGraphExec_t executable = nullptr;
    check(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
    check(cudaGraphDestroy(graph), "cudaGraphDestroy");
    return executable;
}

void launch_graph(int index, Stream stream, void* graph) {
    use(index);
    check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), static_cast<cudaStream_t>(stream.handle)),
          "cudaGraphLaunch");
}

void destroy_graph(int index, void* graph) {
    use(index);
    check(cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)), "cudaGraphExecDestroy");
}

void* create_event(int index) {
    use(index);
    cudaEvent_t event = nullptr;
    check(cudaEventCreate(&event), "cudaEventCreate");
    return event;
}

void destroy_event(int index, void* event) {
    use(index);
    check(cudaEventDestroy(static_cast<cudaEvent_t>(event)), "cudaEventDestroy");
}

void record_event(int index, Stream stream, void* event) {
    use(index);
    const auto handle = static_cast<cudaStream_t>(stream.handle);
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    check(cudaStreamIsCapturing(handle, &status), "cudaStreamIsCapturing");
    // "External" makes the mark a node; without it a capture only remembers a dependency, and no time is taken.
    check(cudaEventRecordWithFlags(
              static_cast<cudaEvent_t>(event), handle,
              status == cudaStreamCaptureStatusNone ? cudaEventRecordDefault : cudaEventRecordExternal),
          "cudaEventRecord");
}

double microseconds_between(int index, void* first, void* second) {
    use(index);
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, static_cast<cudaEvent_t>(first), static_cast<cudaEvent_t>(second)),
          "cudaEventElapsedTime");
    return 1e3 * static_cast<double>(milliseconds);
}

}  // namespace nibble::device::cuda
