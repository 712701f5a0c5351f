// rms_norm on a GPU: one CTA a row.
#include "ops/cuda/elements.cuh"
#include "ops/cuda/launch.h"
#include "ops/cuda/ptx.cuh"
#include "ops/norm/norm.h"

namespace nibble::ops {
namespace {

struct RmsNormParams {
    const __nv_bfloat16* x;
    __nv_bfloat16* residual;  // or null
    const __nv_bfloat16* weight;
    __nv_bfloat16* y;
    int64_t x_stride, residual_stride, y_stride;
    int h;
    float eps;
    bool unit_offset;
};

__global__ void __launch_bounds__(256) rms_norm_kernel(const __grid_constant__ RmsNormParams p) {
    extern __shared__ float row[];
    __shared__ float scratch[32];
    ptx::await_previous_kernel();
    const int64_t t = blockIdx.x;
    float squares = 0;
    for (int i = threadIdx.x; i < p.h; i += blockDim.x) {
        float v = cuda::load_bf16(p.x + t * p.x_stride + i);
        if (p.residual) {
            v = cuda::round_bf16(v + cuda::load_bf16(p.residual + t * p.residual_stride + i));
            p.residual[t * p.residual_stride + i] = __float2bfloat16_rn(v);
        }
        row[i] = v;
        squares += v * v;
    }
    const float factor = rsqrtf(cuda::block_sum(squares, scratch) / p.h + p.eps);
    for (int i = threadIdx.x; i < p.h; i += blockDim.x) {
        const float w = __bfloat162float(p.weight[i]) + (p.unit_offset ? 1.0f : 0.0f);
        p.y[t * p.y_stride + i] = __float2bfloat16_rn(row[i] * factor * w);
    }
}

}  // namespace

bool cuda_rms_norm_accepts(const RmsNormArgs& a, const device::Device&) {
    return a.x.dtype() == DType::bf16 && a.weight.dtype() == DType::bf16 && a.x.dim(1) <= 12 * 1024;
}

void run_cuda_rms_norm(OpContext& context, const RmsNormArgs& a) {
    const RmsNormParams p{.x = a.x.as<__nv_bfloat16>(),
                          .residual = a.residual.as<__nv_bfloat16>(),
                          .weight = a.weight.as<__nv_bfloat16>(),
                          .y = a.y.as<__nv_bfloat16>(),
                          .x_stride = a.x.row_stride(),
                          .residual_stride = a.residual.empty() ? 0 : a.residual.row_stride(),
                          .y_stride = a.y.row_stride(),
                          .h = static_cast<int>(a.x.dim(1)),
                          .eps = a.eps,
                          .unit_offset = a.unit_offset};
    cuda::launch(rms_norm_kernel, "rms_norm", context.stream, dim3(static_cast<unsigned>(a.x.dim(0))), 256,
                 sizeof(float) * p.h, 1, p);
}

}  // namespace nibble::ops
