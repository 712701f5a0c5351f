// Activations as CUDA rows see them: bf16, eight or two at a time, and the rows of a step; read past the L1 cache
// (another kernel of the chain may have written them while this one was already resident).
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace nibble::ops::cuda {

__device__ __forceinline__ float low_bf16(uint32_t pair) {
    return __uint_as_float(pair << 16);
}
__device__ __forceinline__ float high_bf16(uint32_t pair) {
    return __uint_as_float(pair & 0xFFFF0000u);
}

__device__ __forceinline__ float load_bf16(const __nv_bfloat16* p) {
    return __uint_as_float(static_cast<uint32_t>(__ldcg(reinterpret_cast<const unsigned short*>(p))) << 16);
}
__device__ __forceinline__ float round_bf16(float v) {
    return __bfloat162float(__float2bfloat16_rn(v));
}

// The first in the lower half.
__device__ __forceinline__ uint32_t pack_bf16(float first, float second) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
    return reinterpret_cast<const uint32_t&>(pair);
}

__device__ __forceinline__ float silu(float v) {
    return v / (1.0f + expf(-v));
}

// Where a row of the step belongs: row_start[b] <= t < row_start[b + 1].
__device__ __forceinline__ int sequence_of_row(const int32_t* row_start, int sequences, int t) {
    int low = 0, high = sequences;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (__ldcg(row_start + middle) <= t)
            low = middle;
        else
            high = middle;
    }
    return low;
}

// Sum over the block in a fixed order: lanes by halving, then warps ascending. scratch: 32 floats. Every thread gets
// it.
__device__ __forceinline__ float block_sum(float value, float* scratch) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = (blockDim.x + 31) / 32;
    for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(~0u, value, offset);
    __syncthreads();
    if (lane == 0) scratch[warp] = value;
    __syncthreads();
    float sum = 0;
    for (int w = 0; w < warps; ++w) sum += scratch[w];
    return sum;
}

}  // namespace nibble::ops::cuda
