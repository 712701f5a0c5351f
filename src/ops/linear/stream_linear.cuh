// linear for few tokens on a GPU: y = W · x (+ residual), optionally with the RMS norm of x in front.
//
//   cluster of C CTAs = contiguous row tiles; rank r of the cluster = k tiles [r, r + 1) · KT / C
//   warp w of a CTA   = a contiguous share of those k tiles, for every row tile of the cluster in turn
//   sums: over a warp's k (mma), over warps in order, over ranks in order: a function of (N, K, format) and the GPU's
//   number of multiprocessors, never of the tokens.
#pragma once

#include "ops/cuda/tile_stream.cuh"
#include "ops/linear/linear.h"
#include "ops/linear/stream_plan.h"

#include <cuda_bf16.h>

#include <cstddef>
#include <cstdint>

namespace nibble::ops {

struct StreamLinearParams {
    const std::byte* weights;  // cuda_tiles
    const float* row_scale;    // [N] or null
    const float* bias;         // [N] or null
    tiles::TokenSource tokens;
    const std::byte* fragments;     // more than one token: token_fragments' output
    const float* factors;           // and each token's 1 / rms
    const __nv_bfloat16* residual;  // [T, N] or null
    int64_t residual_stride;
    void* y;  // [T, N] bf16, or f32
    int64_t y_stride;
    bool y_is_float;
    float scale;
    int n, k;
    uint32_t sixteen;  // 16 (tile_stream.cuh)
    StreamPlan plan;
};

// Every thread of every kernel ends a sum with these, so that its bits do not depend on the kernel.
__device__ __forceinline__ float linear_value(const StreamLinearParams& p, int n, float sum, float unscale,
                                              float factor) {
    sum = __fmul_rn(sum, __fmul_rn(p.scale, unscale));
    if (p.tokens.norm_weight != nullptr) sum = __fmul_rn(sum, factor);
    if (p.row_scale) sum = __fmul_rn(sum, p.row_scale[n]);
    return p.bias ? __fadd_rn(sum, p.bias[n]) : sum;
}
__device__ __forceinline__ void store_linear(const StreamLinearParams& p, int token, int n, float value,
                                             unsigned short residual_bits) {
    if (p.y_is_float) {
        static_cast<float*>(p.y)[token * p.y_stride + n] = value;
        return;
    }
    __nv_bfloat16 rounded = __float2bfloat16_rn(value);
    if (p.residual)
        rounded = __float2bfloat16_rn(__bfloat162float(rounded) + __uint_as_float(uint32_t{residual_bits} << 16));
    static_cast<__nv_bfloat16*>(p.y)[token * p.y_stride + n] = rounded;
}

// More than kStreamMaxTokens tokens; p.fragments is packed (cuda/tile_gemm.cuh) in blocks of kGemmLinearColumns.
inline constexpr int kGemmLinearColumns = 64;
void launch_gemm_linear(OpContext& context, WeightFormat format, const StreamLinearParams& p);

}  // namespace nibble::ops
