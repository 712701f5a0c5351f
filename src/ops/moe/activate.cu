// activate on a GPU: one CTA a row.
#include "ops/cuda/elements.cuh"
#include "ops/cuda/launch.h"
#include "ops/cuda/ptx.cuh"
#include "ops/moe/moe.h"

namespace nibble::ops {
namespace {

__device__ float gelu_tanh(float v) {
    return 0.5f * v * (1.0f + tanhf(0.7978845608028654f * (v + 0.044715f * v * v * v)));
}

__global__ void __launch_bounds__(256) activate_kernel(const __nv_bfloat16* x, int64_t x_stride, __nv_bfloat16* y,
                                                       int64_t y_stride, int width, Activation activation) {
    ptx::await_previous_kernel();
    const int64_t t = blockIdx.x;
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        const float first = cuda::load_bf16(x + t * x_stride + i);
        float value;
        if (activation == Activation::relu2) {
            value = first <= 0.0f ? 0.0f : first * first;  // NaN stays NaN
        } else {
            const float up = cuda::load_bf16(x + t * x_stride + width + i);
            value = (activation == Activation::swiglu ? cuda::silu(first) : gelu_tanh(first)) * up;
        }
        y[t * y_stride + i] = __float2bfloat16_rn(value);
    }
}

}  // namespace

bool cuda_activate_accepts(const ActivateArgs& a, const device::Device&) {
    return a.x.dtype() == DType::bf16;
}

void run_cuda_activate(OpContext& context, const ActivateArgs& a) {
    cuda::launch(activate_kernel, "activate", context.stream, dim3(static_cast<unsigned>(a.y.dim(0))), 256, 0, 1,
                 a.x.as<__nv_bfloat16>(), a.x.row_stride(), a.y.as<__nv_bfloat16>(), a.y.row_stride(),
                 static_cast<int>(a.y.dim(1)), a.activation);
}

}  // namespace nibble::ops
