// embed and gather_rows on a GPU: one CTA a row.
#include "ops/cuda/elements.cuh"
#include "ops/cuda/launch.h"
#include "ops/cuda/ptx.cuh"
#include "ops/embed/embed.h"

namespace nibble::ops {
namespace {

template <class Element>
__global__ void __launch_bounds__(256)
    embed_kernel(const int32_t* tokens, const Element* table, __nv_bfloat16* y, int64_t y_stride, int h, float scale) {
    ptx::await_previous_kernel();
    const int64_t t = blockIdx.x, token = __ldcg(tokens + t);
    for (int i = threadIdx.x; i < h; i += blockDim.x)
        y[t * y_stride + i] = __float2bfloat16_rn(static_cast<float>(table[token * h + i]) * scale);
}

__global__ void __launch_bounds__(256) gather_rows_kernel(const __nv_bfloat16* x, int64_t x_stride, const int32_t* rows,
                                                          __nv_bfloat16* y, int64_t y_stride, int h) {
    ptx::await_previous_kernel();
    const int64_t r = blockIdx.x, row = __ldcg(rows + r);
    for (int i = threadIdx.x; i < h; i += blockDim.x)
        y[r * y_stride + i] = __float2bfloat16_rn(cuda::load_bf16(x + row * x_stride + i));
}

}  // namespace

bool cuda_embed_accepts(const EmbedArgs& a, const device::Device&) {
    return (a.table.dtype() == DType::bf16 || a.table.dtype() == DType::f32) && a.y.dtype() == DType::bf16;
}

void run_cuda_embed(OpContext& context, const EmbedArgs& a) {
    const auto launch = [&](auto* kernel, auto* table) {
        cuda::launch(kernel, "embed", context.stream, dim3(static_cast<unsigned>(a.y.dim(0))), 256, 0, 1,
                     a.tokens.as<int32_t>(), table, a.y.as<__nv_bfloat16>(), a.y.row_stride(),
                     static_cast<int>(a.y.dim(1)), a.scale);
    };
    if (a.table.dtype() == DType::f32) return launch(embed_kernel<float>, a.table.as<float>());
    launch(embed_kernel<__nv_bfloat16>, a.table.as<__nv_bfloat16>());
}

bool cuda_gather_rows_accepts(const GatherRowsArgs& a, const device::Device&) {
    return a.x.dtype() == DType::bf16;
}

void run_cuda_gather_rows(OpContext& context, const GatherRowsArgs& a) {
    cuda::launch(gather_rows_kernel, "gather_rows", context.stream, dim3(static_cast<unsigned>(a.y.dim(0))), 256, 0, 1,
                 a.x.as<__nv_bfloat16>(), a.x.row_stride(), a.rows.as<int32_t>(), a.y.as<__nv_bfloat16>(),
                 a.y.row_stride(), static_cast<int>(a.y.dim(1)));
}

}  // namespace nibble::ops
