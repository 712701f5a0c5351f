// launch(): a kernel, in clusters where asked; every launch of a step goes through it.
//
// Kernels are written for programmatic dependent launch (ptx::await_previous_kernel), but are not launched with that
// attribute: with it most steps gave the same tokens, and some, of 16 tokens, gave numbers that no kernel wrote
// (docs/performance.md).
#pragma once

#include "base/check.h"
#include "device/device.h"
#include "device/stream.h"

#include <cuda_runtime.h>

namespace nibble::ops::cuda {

inline void check_cuda(cudaError_t status, const char* what) {
    CHECK(status == cudaSuccess, "{}: {}", what, cudaGetErrorString(status));
}

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), const char* name, device::Stream stream, dim3 grid, unsigned threads,
            size_t shared_bytes, unsigned cluster, Arguments&&... arguments) {
    cudaLaunchConfig_t config{};
    config.gridDim = grid;
    config.blockDim = dim3(threads);
    config.dynamicSmemBytes = shared_bytes;
    config.stream = static_cast<cudaStream_t>(stream.handle);
    cudaLaunchAttribute attribute;
    if (cluster > 1) {
        attribute.id = cudaLaunchAttributeClusterDimension;
        attribute.val.clusterDim = {cluster, 1, 1};
        config.attrs = &attribute;
        config.numAttrs = 1;
    }
    check_cuda(cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...), name);
}

// Raises a kernel's dynamic shared memory limit to the device's; call once before its first launch.
template <class Kernel>
void allow_shared(Kernel kernel) {
    int device = 0, bytes = 0;
    check_cuda(cudaGetDevice(&device), "cudaGetDevice");
    check_cuda(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
               "cudaDeviceGetAttribute");
    cudaFuncAttributes attributes{};
    check_cuda(cudaFuncGetAttributes(&attributes, kernel), "cudaFuncGetAttributes");
    check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    bytes - static_cast<int>(attributes.sharedSizeBytes)),
               "cudaFuncSetAttribute");
}

// Dynamic shared memory of a CTA when `ctas` share a multiprocessor: 227 KiB on Hopper, 99 on the RTX and GB10.
inline int64_t shared_budget(const device::Device& device, int ctas) {
    constexpr int64_t kReserved = 3 * 1024;  // a CTA's own, and what it declares
    return device.shared_memory_per_block_bytes / ctas - kReserved;
}

}  // namespace nibble::ops::cuda
