// linear for few tokens on a GPU: y = W · x (+ residual), optionally with the RMS norm of x in front.
//
//   cluster of C CTAs = contiguous row tiles; rank r of the cluster = k tiles [r, r + 1) · KT / C
//   warp w of a CTA   = a contiguous share of those k tiles, for every row tile of the cluster in turn
//   sums: over a warp's k (mma), over warps in order, over ranks in order: a function of (N, K, format) and the GPU's
//   number of multiprocessors, never of the tokens.
#pragma once

#include "ops/cuda/tile_stream.cuh"
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

}  // namespace nibble::ops
