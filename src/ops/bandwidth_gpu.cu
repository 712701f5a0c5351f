// The read bandwidth of a GPU's memory: a plain sum of random bits, each byte read once.
#include "device/buffer.h"
#include "ops/bandwidth.h"
#include "ops/cuda/launch.h"

#include <algorithm>

namespace nibble::ops {
namespace {

__global__ void fill_random(uint4* data, int64_t count) {
    const int64_t stride = int64_t{1} * gridDim.x * blockDim.x;
    for (int64_t i = int64_t{1} * blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride) {
        uint32_t state = static_cast<uint32_t>(i) * 2654435761u ^ static_cast<uint32_t>(i >> 32) ^ 0x9E3779B9u;
        const auto next = [&] {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            return state;
        };
        const uint32_t a = next(), b = next(), c = next(), d = next();
        data[i] = make_uint4(a, b, c, d);
    }
}

__global__ void __launch_bounds__(512) read_all(const uint4* data, int64_t count, uint32_t* out) {
    const int64_t stride = int64_t{1} * gridDim.x * blockDim.x;
    uint32_t sum = 0;
    int64_t i = int64_t{1} * blockIdx.x * blockDim.x + threadIdx.x;
    for (; i + 3 * stride < count; i += 4 * stride) {
        const uint4 a = __ldcs(data + i), b = __ldcs(data + i + stride), c = __ldcs(data + i + 2 * stride),
                    d = __ldcs(data + i + 3 * stride);
        sum ^= a.x ^ a.y ^ a.z ^ a.w ^ b.x ^ b.y ^ b.z ^ b.w ^ c.x ^ c.y ^ c.z ^ c.w ^ d.x ^ d.y ^ d.z ^ d.w;
    }
    for (; i < count; i += stride) sum ^= data[i].x ^ data[i].y ^ data[i].z ^ data[i].w;
    if (sum == 0x12345678u) *out = sum;  // so that the reads are not removed
}

}  // namespace

Result<double> measure_gpu_read_bandwidth(const device::Device& device, int64_t bytes) {
    TRY(const device::Buffer buffer, device::Buffer::allocate(device, bytes + 256, "the bandwidth probe"));
    auto* data = reinterpret_cast<uint4*>(buffer.data());
    auto* out = reinterpret_cast<uint32_t*>(buffer.data() + bytes);
    const int64_t count = bytes / static_cast<int64_t>(sizeof(uint4));
    fill_random<<<2048, 256>>>(data, count);
    cudaEvent_t begin, end;
    cuda::check_cuda(cudaEventCreate(&begin), "cudaEventCreate");
    cuda::check_cuda(cudaEventCreate(&end), "cudaEventCreate");
    double best = 0;
    for (int blocks = 4; blocks <= 32; blocks *= 2) {
        for (int pass = 0; pass < 3; ++pass) {
            cuda::check_cuda(cudaEventRecord(begin), "cudaEventRecord");
            read_all<<<static_cast<unsigned>(device.multiprocessors * blocks), 512>>>(data, count, out);
            cuda::check_cuda(cudaEventRecord(end), "cudaEventRecord");
            cuda::check_cuda(cudaEventSynchronize(end), "the bandwidth probe");
            float ms = 0;
            cuda::check_cuda(cudaEventElapsedTime(&ms, begin, end), "cudaEventElapsedTime");
            best = std::max(best, static_cast<double>(bytes) / (ms * 1e6));
        }
    }
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    return best;
}

}  // namespace nibble::ops
