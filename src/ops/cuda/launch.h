// launch(): a kernel, in clusters where asked; every launch of a step goes through it.
//
// Kernels are written for programmatic dependent launch (ptx::await_previous_kernel), but are not launched with that
// attribute: with it most steps gave the same tokens, and some, of 16 tokens, gave numbers that no kernel wrote
// (docs/performance.md).
#pragma once

#include "base/check.h"
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

// Raises a kernel's dynamic shared memory limit; call once before its first launch.
template <class Kernel>
void allow_shared(Kernel kernel, size_t bytes) {
    check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
               "cudaFuncSetAttribute");
}

}  // namespace nibble::ops::cuda
