// linear for what tiles cannot hold: row-major weights of any format and shape, a warp an output, float32 sums. The
// norm, if any, has been taken before (linear.cpp).
#include "ops/cuda/elements.cuh"
#include "ops/cuda/launch.h"
#include "ops/cuda/ptx.cuh"
#include "ops/linear/cuda_rows.h"

#include <cuda_fp8.h>

namespace nibble::ops {
namespace {

struct PlainLinearParams {
    const std::byte* codes;
    const std::byte* scales;  // nvfp4
    WeightFormat format;
    float scale;
    const float *row_scale, *bias;
    const void* x;
    bool x_is_float;
    int64_t x_stride;
    const void* residual;
    int64_t residual_stride;
    void* y;
    bool y_is_float;
    int64_t y_stride;
    int n, k;
};

__device__ float e4m3(const std::byte* at) {
    __nv_fp8_e4m3 code;
    code.__x = static_cast<__nv_fp8_storage_t>(*at);
    return static_cast<float>(code);
}

__device__ float weight_at(const PlainLinearParams& p, int n, int k) {
    const int64_t at = int64_t{1} * n * p.k + k;
    switch (p.format) {
        case WeightFormat::f32:
            return reinterpret_cast<const float*>(p.codes)[at];
        case WeightFormat::bf16:
            return __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(p.codes)[at]);
        case WeightFormat::fp8:
            return e4m3(p.codes + at);
        default: {
            const uint32_t pair = static_cast<uint32_t>(p.codes[at / 2]), code = at % 2 ? pair >> 4 : pair & 15u;
            constexpr float values[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
            const float magnitude = values[code & 7u];
            return (code & 8u ? -magnitude : magnitude) * e4m3(p.scales + at / 16);
        }
    }
}

__global__ void __launch_bounds__(128) plain_linear_kernel(const __grid_constant__ PlainLinearParams p) {
    const int n = blockIdx.x * 4 + threadIdx.x / 32, t = blockIdx.y, lane = threadIdx.x % 32;
    ptx::await_previous_kernel();
    if (n >= p.n) return;
    float sum = 0;
    for (int k = lane; k < p.k; k += 32) {
        const float x = p.x_is_float ? __ldcg(static_cast<const float*>(p.x) + t * p.x_stride + k)
                                     : cuda::load_bf16(static_cast<const __nv_bfloat16*>(p.x) + t * p.x_stride + k);
        sum += weight_at(p, n, k) * x;
    }
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(~0u, sum, offset);
    if (lane != 0) return;
    sum *= p.scale;
    if (p.row_scale) sum *= p.row_scale[n];
    if (p.bias) sum += p.bias[n];
    if (p.y_is_float) {
        if (p.residual) sum += __ldcg(static_cast<const float*>(p.residual) + t * p.residual_stride + n);
        static_cast<float*>(p.y)[t * p.y_stride + n] = sum;
        return;
    }
    sum = cuda::round_bf16(sum);
    if (p.residual) sum += cuda::load_bf16(static_cast<const __nv_bfloat16*>(p.residual) + t * p.residual_stride + n);
    static_cast<__nv_bfloat16*>(p.y)[t * p.y_stride + n] = __float2bfloat16_rn(sum);
}

}  // namespace

bool plain_linear_accepts(const LinearArgs& a, const device::Device&) {
    return a.weight.layout == WeightLayout::row_major && a.norm_weight.empty();
}

void run_plain_linear(OpContext& context, const LinearArgs& a) {
    const PlainLinearParams p{.codes = a.weight.data,
                              .scales = a.weight.data + a.weight.n * row_code_bytes(a.weight.format, a.weight.k),
                              .format = a.weight.format,
                              .scale = a.weight.scale,
                              .row_scale = a.weight.row_scale.as<float>(),
                              .bias = a.bias.as<float>(),
                              .x = a.x.data(),
                              .x_is_float = a.x.dtype() == DType::f32,
                              .x_stride = a.x.row_stride(),
                              .residual = a.residual.data(),
                              .residual_stride = a.residual.empty() ? 0 : a.residual.row_stride(),
                              .y = a.y.data(),
                              .y_is_float = a.y.dtype() == DType::f32,
                              .y_stride = a.y.row_stride(),
                              .n = static_cast<int>(a.weight.n),
                              .k = static_cast<int>(a.weight.k)};
    cuda::launch(plain_linear_kernel, "plain_linear", context.stream,
                 dim3((static_cast<unsigned>(p.n) + 3) / 4, static_cast<unsigned>(a.x.dim(0))), 128, 0, 1, p);
}

}  // namespace nibble::ops
