// attention on a GPU: an append kernel, then one CTA a (row, key-value head), or a (row, head, split) when rows are
// few.
//
// A row's keys are taken in splits of 256 positions: scores of a split (a thread a key, all queries of the group), its
// softmax, its weighted values; splits are merged in order. Where splits have CTAs of their own, the last to arrive
// merges what they left in scratch, in the same order with the same arithmetic: the result depends on the row's
// position alone.
#include "ops/attention/attention_params.cuh"
#include "ops/attention/cuda_rows.h"
#include "ops/cuda/elements.cuh"
#include "ops/cuda/launch.h"
#include "ops/cuda/ptx.cuh"

#include <cuda_fp8.h>

#include <algorithm>

namespace nibble::ops {
namespace {

constexpr int kSplit = 256;  // positions
constexpr int kThreads = 256;

__device__ unsigned attention_arrivals[kMaxRows * 64];

__device__ __forceinline__ int64_t cache_element(const AttentionParams& p, int sequence, int position, int head) {
    const int page = __ldcg(p.page_table + sequence * p.page_table_stride + position / p.page_size);
    return ((int64_t{1} * page * p.page_size + position % p.page_size) * p.kv_heads + head) * p.head_dim;
}

__device__ __forceinline__ float load_cache(const AttentionParams& p, const void* pages, int64_t at) {
    switch (p.cache) {
        case Cache::bf16:
            return cuda::load_bf16(static_cast<const __nv_bfloat16*>(pages) + at);
        case Cache::f32:
            return __ldcg(static_cast<const float*>(pages) + at);
        default: {
            __nv_fp8_e4m3 code;
            code.__x = __ldcg(static_cast<const unsigned char*>(pages) + at);
            return static_cast<float>(code);
        }
    }
}

// Eight consecutive elements, 16-byte (bf16) or 8-byte (f8) aligned.
__device__ __forceinline__ void load_cache8(const AttentionParams& p, const void* pages, int64_t at, float (&out)[8]) {
    if (p.cache == Cache::bf16) {
        const uint4 v = __ldcg(reinterpret_cast<const uint4*>(static_cast<const __nv_bfloat16*>(pages) + at));
        const uint32_t pairs[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int i = 0; i < 4; ++i) out[2 * i] = cuda::low_bf16(pairs[i]), out[2 * i + 1] = cuda::high_bf16(pairs[i]);
    } else {
#pragma unroll
        for (int i = 0; i < 8; ++i) out[i] = load_cache(p, pages, at + i);
    }
}

__device__ __forceinline__ void store_cache(const AttentionParams& p, void* pages, int64_t at, float value) {
    switch (p.cache) {
        case Cache::bf16:
            static_cast<__nv_bfloat16*>(pages)[at] = __float2bfloat16_rn(value);
            break;
        case Cache::f32:
            static_cast<float*>(pages)[at] = value;
            break;
        default:
            static_cast<unsigned char*>(pages)[at] = __nv_cvt_float_to_fp8(value, __NV_SATFINITE, __NV_E4M3);
    }
}

__global__ void __launch_bounds__(128) attention_append_kernel(const __grid_constant__ AttentionParams p) {
    const int t = blockIdx.x;
    ptx::await_previous_kernel();
    if (t >= __ldcg(p.row_start + p.sequences)) return;
    const int b = cuda::sequence_of_row(p.row_start, p.sequences, t);
    const int position = __ldcg(p.context_length + b) - (__ldcg(p.row_start + b + 1) - t);
    for (int i = threadIdx.x; i < p.kv_heads * p.head_dim; i += blockDim.x) {
        const int64_t at = cache_element(p, b, position, i / p.head_dim) + i % p.head_dim;
        store_cache(p, p.k_pages, at, cuda::load_bf16(p.k + t * p.k_stride + i) / p.k_scale);
        store_cache(p, p.v_pages, at, cuda::load_bf16(p.v + t * p.v_stride + i) / p.v_scale);
    }
}

// (largest, total, sums) of two runs of keys, the second after the first.
__device__ __forceinline__ void merge(float& largest, float& total, float& sum, float other_largest, float other_total,
                                      float other_sum) {
    const float top = fmaxf(largest, other_largest);
    const float mine = expf(largest - top), other = expf(other_largest - top);
    total = total * mine + other_total * other;
    sum = sum * mine + other_sum * other;
    largest = top;
}

__global__ void __launch_bounds__(kThreads) attention_kernel(const __grid_constant__ AttentionParams p) {
    extern __shared__ float shared[];
    const int t = blockIdx.x, head = blockIdx.y / p.group_parts, part = blockIdx.y % p.group_parts;
    const int d = p.head_dim, first_query = head * p.group + part * kMaxGroup;
    const int queries = min(kMaxGroup, p.group - part * kMaxGroup);
    float* q = shared;                   // [queries][D]
    float* weights = q + kMaxGroup * d;  // [kSplit][queries]
    __shared__ float largest[kMaxGroup], total[kMaxGroup];
    __shared__ bool last;
    ptx::await_previous_kernel();
    if (t >= __ldcg(p.row_start + p.sequences)) return;
    const int b = cuda::sequence_of_row(p.row_start, p.sequences, t);
    const int position = __ldcg(p.context_length + b) - (__ldcg(p.row_start + b + 1) - t);
    const int first_key = p.window > 0 ? max(0, position + 1 - p.window) : 0;
    const int first_split = first_key / kSplit, last_split = position / kSplit;
    const bool side_by_side = p.max_splits > 1;
    if (side_by_side && first_split + static_cast<int>(blockIdx.z) > last_split) return;

    for (int i = threadIdx.x; i < queries * d; i += kThreads)
        q[i] = cuda::load_bf16(p.q + t * p.q_stride + first_query * d + i) * (p.scale * p.k_scale);
    const int begin = side_by_side ? first_split + blockIdx.z : first_split,
              end = side_by_side ? begin + 1 : last_split + 1;
    // The thread's outputs: element threadIdx.x % D of queries threadIdx.x / D, + kThreads / D, …
    constexpr int kMaxOutputs = 16;
    const int lanes = max(1, kThreads / d), element = threadIdx.x % d, query_lane = threadIdx.x / d;
    float sum[kMaxOutputs], run_largest[kMaxOutputs], run_total[kMaxOutputs];
#pragma unroll
    for (int i = 0; i < kMaxOutputs; ++i) sum[i] = 0, run_total[i] = 0, run_largest[i] = -INFINITY;

    for (int split = begin; split < end; ++split) {
        __syncthreads();
        const int key = split * kSplit + threadIdx.x;
        if (key >= first_key && key <= position) {
            float score[kMaxGroup];
#pragma unroll
            for (int i = 0; i < kMaxGroup; ++i) score[i] = 0;
            const int64_t at = cache_element(p, b, key, head);
#pragma unroll 4
            for (int e = 0; e < d; e += 8) {
                float k[8];
                load_cache8(p, p.k_pages, at + e, k);
#pragma unroll
                for (int i = 0; i < kMaxGroup; ++i) {
                    if (i >= queries) break;
                    const float4 low = *reinterpret_cast<const float4*>(q + i * d + e);
                    const float4 high = *reinterpret_cast<const float4*>(q + i * d + e + 4);
                    score[i] += k[0] * low.x + k[1] * low.y + k[2] * low.z + k[3] * low.w;
                    score[i] += k[4] * high.x + k[5] * high.y + k[6] * high.z + k[7] * high.w;
                }
            }
#pragma unroll
            for (int i = 0; i < kMaxGroup; ++i)
                if (i < queries) weights[threadIdx.x * kMaxGroup + i] = score[i];
        } else {
            for (int i = 0; i < queries; ++i) weights[threadIdx.x * kMaxGroup + i] = -INFINITY;
        }
        __syncthreads();
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        for (int i = warp; i < queries; i += kThreads / 32) {
            float top = -INFINITY;
            for (int j = lane; j < kSplit; j += 32) top = fmaxf(top, weights[j * kMaxGroup + i]);
            for (int offset = 16; offset > 0; offset /= 2) top = fmaxf(top, __shfl_xor_sync(~0u, top, offset));
            float all = 0;
            for (int j = lane; j < kSplit; j += 32) {
                const float w = expf(weights[j * kMaxGroup + i] - top);
                weights[j * kMaxGroup + i] = w;
                all += w;
            }
            for (int offset = 16; offset > 0; offset /= 2) all += __shfl_xor_sync(~0u, all, offset);
            if (lane == 0) largest[i] = top, total[i] = all;
        }
        __syncthreads();
        if (query_lane < lanes) {
            float here[kMaxOutputs];
#pragma unroll
            for (int i = 0; i < kMaxOutputs; ++i) here[i] = 0;
            const int from = max(first_key, split * kSplit), to = min(position, split * kSplit + kSplit - 1);
            constexpr int kAhead = 16;  // values on their way at once; they are added in order
            for (int j0 = from; j0 <= to; j0 += kAhead) {
                float v[kAhead];
#pragma unroll
                for (int i = 0; i < kAhead; ++i)
                    v[i] = j0 + i <= to ? load_cache(p, p.v_pages, cache_element(p, b, j0 + i, head) + element) : 0.0f;
#pragma unroll
                for (int step = 0; step < kAhead; ++step) {
                    if (j0 + step > to) break;
                    const float* w = weights + (j0 + step - split * kSplit) * kMaxGroup;
#pragma unroll
                    for (int i = 0; i < kMaxOutputs; ++i) {
                        if (query_lane + i * lanes >= queries) break;
                        here[i] += w[query_lane + i * lanes] * v[step];
                    }
                }
            }
#pragma unroll
            for (int i = 0; i < kMaxOutputs; ++i) {
                const int query = query_lane + i * lanes;
                if (query >= queries) break;
                if (side_by_side) {
                    sum[i] = here[i], run_largest[i] = largest[query], run_total[i] = total[query];
                } else {
                    merge(run_largest[i], run_total[i], sum[i], largest[query], total[query], here[i]);
                }
            }
        }
    }

    const auto write = [&] {
#pragma unroll
        for (int i = 0; i < kMaxOutputs; ++i) {
            const int query = query_lane + i * lanes;
            if (query_lane >= lanes || query >= queries) break;
            p.out[t * p.out_stride + (first_query + query) * d + element] =
                __float2bfloat16_rn(sum[i] / run_total[i] * p.v_scale);
        }
    };
    const int splits = last_split - first_split + 1;
    if (!side_by_side) return write();
    float* mine = p.partial + (int64_t{1} * t * gridDim.y + blockIdx.y) * p.max_splits * kMaxGroup * (d + 2);
#pragma unroll
    for (int i = 0; i < kMaxOutputs; ++i) {
        const int query = query_lane + i * lanes;
        if (query_lane >= lanes || query >= queries) break;
        float* at = mine + (int64_t{blockIdx.z} * kMaxGroup + query) * (d + 2);
        at[element] = sum[i];
        if (element == 0) at[d] = run_largest[i], at[d + 1] = run_total[i];
    }
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        unsigned* arrivals = &attention_arrivals[t * gridDim.y + blockIdx.y];
        last = atomicAdd(arrivals, 1u) == static_cast<unsigned>(splits - 1);
        if (last) *arrivals = 0;
    }
    __syncthreads();
    if (!last) return;
    __threadfence();
#pragma unroll
    for (int i = 0; i < kMaxOutputs; ++i) {
        const int query = query_lane + i * lanes;
        if (query_lane >= lanes || query >= queries) break;
        sum[i] = 0, run_total[i] = 0, run_largest[i] = -INFINITY;
        for (int s = 0; s < splits; ++s) {
            const float* at = mine + (int64_t{s} * kMaxGroup + query) * (d + 2);
            merge(run_largest[i], run_total[i], sum[i], __ldcg(at + d), __ldcg(at + d + 1), __ldcg(at + element));
        }
    }
    write();
}

int64_t partial_bytes(const AttentionArgs& a, int64_t splits) {
    return a.sequences.tokens * a.kv_heads * group_parts(a) * splits * kMaxGroup * (a.head_dim + 2) * 4;
}

// Splits run side by side when the rows alone would not fill the GPU and the scratch stays small.
int64_t parallel_splits(const AttentionArgs& a, const device::Device& device) {
    const int64_t splits = (a.sequences.max_context + kSplit - 1) / kSplit;
    const int64_t heads = a.kv_heads * group_parts(a);
    if (splits <= 1 || heads > 64 || a.sequences.tokens > kMaxRows ||
        a.sequences.tokens * heads >= 2 * device.multiprocessors)
        return 1;
    return partial_bytes(a, splits) <= kMaxScratchBytes ? splits : 1;
}

}  // namespace

bool cuda_attention_accepts(const AttentionArgs& a, const device::Device&) {
    return a.q.dtype() == DType::bf16 && a.head_dim % 8 == 0 && a.head_dim <= kThreads && kThreads % a.head_dim == 0;
}

int64_t cuda_attention_scratch_bytes(const AttentionArgs& a, const device::Device& device) {
    const int64_t splits = parallel_splits(a, device);
    return splits > 1 ? partial_bytes(a, splits) : 0;
}

AttentionParams attention_params(const AttentionArgs& a) {
    const bool f8 = a.k_pages.dtype() == DType::f8_e4m3;
    return {.q = a.q.as<__nv_bfloat16>(),
            .k = a.k.as<__nv_bfloat16>(),
            .v = a.v.as<__nv_bfloat16>(),
            .q_stride = a.q.row_stride(),
            .k_stride = a.k.row_stride(),
            .v_stride = a.v.row_stride(),
            .out_stride = a.out.row_stride(),
            .k_pages = a.k_pages.data(),
            .v_pages = a.v_pages.data(),
            .out = a.out.as<__nv_bfloat16>(),
            .row_start = a.sequences.row_start.as<int32_t>(),
            .context_length = a.sequences.context_length.as<int32_t>(),
            .page_table = a.sequences.page_table.as<int32_t>(),
            .page_table_stride = a.sequences.page_table.row_stride(),
            .sequences = static_cast<int>(a.sequences.count),
            .tokens = static_cast<int>(a.sequences.tokens),
            .page_size = static_cast<int>(a.sequences.page_size),
            .query_heads = static_cast<int>(a.query_heads),
            .kv_heads = static_cast<int>(a.kv_heads),
            .head_dim = static_cast<int>(a.head_dim),
            .group = static_cast<int>(a.query_heads / a.kv_heads),
            .group_parts = group_parts(a),
            .scale = a.scale,
            .k_scale = f8 ? a.k_scale : 1.0f,
            .v_scale = f8 ? a.v_scale : 1.0f,
            .window = static_cast<int>(a.window),
            .cache = f8                                ? Cache::f8
                     : a.k_pages.dtype() == DType::f32 ? Cache::f32
                                                       : Cache::bf16,
            .max_splits = 1,
            .partial = nullptr};
}

void append_to_cache(OpContext& context, const AttentionParams& p) {
    cuda::launch(attention_append_kernel, "attention_append", context.stream, dim3(static_cast<unsigned>(p.tokens)),
                 128, 0, 1, p);
}

void run_cuda_attention(OpContext& context, const AttentionArgs& a) {
    AttentionParams p = attention_params(a);
    p.max_splits = static_cast<int>(parallel_splits(a, *context.device));
    if (p.max_splits > 1)
        p.partial = reinterpret_cast<float*>(context.arena->allocate_bytes(partial_bytes(a, p.max_splits)));
    append_to_cache(context, p);
    const size_t shared = sizeof(float) * (kMaxGroup * p.head_dim + kSplit * kMaxGroup);
    cuda::launch(attention_kernel, "attention", context.stream,
                 dim3(static_cast<unsigned>(p.tokens), static_cast<unsigned>(p.kv_heads * p.group_parts),
                      static_cast<unsigned>(p.max_splits)),
                 kThreads, shared, 1, p);
}

}  // namespace nibble::ops
