// rope on a GPU: one CTA a row, a thread a pair of elements in turn.
#include "ops/cuda/elements.cuh"
#include "ops/cuda/launch.h"
#include "ops/cuda/ptx.cuh"
#include "ops/rope/rope.h"

namespace nibble::ops {
namespace {

__global__ void __launch_bounds__(256)
    rope_kernel(__nv_bfloat16* x, int64_t stride, const int32_t* positions, const float* inv_freq, int half, int heads,
                int head_dim, float scale) {
    ptx::await_previous_kernel();
    const int64_t t = blockIdx.x;
    const float position = static_cast<float>(__ldcg(positions + t));
    for (int i = threadIdx.x; i < heads * half; i += blockDim.x) {
        float sine, cosine;
        sincosf(position * inv_freq[i % half], &sine, &cosine);
        sine = cuda::round_bf16(sine * scale);
        cosine = cuda::round_bf16(cosine * scale);
        __nv_bfloat16* at = x + t * stride + (i / half) * head_dim + i % half;
        const float lower = cuda::load_bf16(at), upper = cuda::load_bf16(at + half);
        at[0] = __float2bfloat16_rn(lower * cosine - upper * sine);
        at[half] = __float2bfloat16_rn(upper * cosine + lower * sine);
    }
}

}  // namespace

bool cuda_rope_accepts(const RopeArgs& a, const device::Device&) {
    return a.x.dtype() == DType::bf16;
}

void run_cuda_rope(OpContext& context, const RopeArgs& a) {
    cuda::launch(rope_kernel, "rope", context.stream, dim3(static_cast<unsigned>(a.x.dim(0))), 256, 0, 1,
                 a.x.as<__nv_bfloat16>(), a.x.row_stride(), a.positions.as<int32_t>(), a.inv_freq.as<float>(),
                 static_cast<int>(a.inv_freq.elements()), static_cast<int>(a.heads), static_cast<int>(a.head_dim),
                 a.scale);
}

}  // namespace nibble::ops
