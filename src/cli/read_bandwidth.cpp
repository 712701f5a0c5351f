#include "cli/read_bandwidth.h"

#include "device/buffer.h"
#include "device/have_cuda.h"
#include "ops/bandwidth.h"

#include <algorithm>
#include <cstring>

namespace nibble::cli {
namespace {

constexpr int64_t kMostGpuBytes = int64_t{8} << 30;
constexpr int64_t kLeastCpuBytes = int64_t{64} << 20, kMostCpuBytes = int64_t{1} << 30;
constexpr int kPasses = 3;

}  // namespace

Result<double> measure_read_bandwidth(const device::Device& device, ThreadPool& threads) {
    if (!device.is_cpu()) {
        if constexpr (device::kHaveCuda) {
            TRY(const device::MemoryReading memory, device::read_memory(device));
            TRY(const double gb_s,
                ops::measure_gpu_read_bandwidth(device, std::min(kMostGpuBytes, memory.available_bytes / 2)));
            return gb_s * 1e9;
        }
        return error(ErrorCode::unsupported, "{}: this build has no CUDA to measure it with", device.name);
    }
    const int64_t bytes = std::clamp(8 * device.l2_bytes, kLeastCpuBytes, kMostCpuBytes);
    TRY(const device::Buffer buffer, device::Buffer::allocate(device, bytes, "the bandwidth probe"));
    // Written first: pages that were never touched are all the same page of zeros.
    threads.parallel_for(bytes, 4096, [&](int64_t begin, int64_t end, int) {
        std::memset(buffer.data() + begin, 1, static_cast<size_t>(end - begin));
    });
    return static_cast<double>(bytes) / ops::best_read_seconds(threads, buffer.data(), bytes, kPasses);
}

}  // namespace nibble::cli
