// The router of the CUDA rows of moe: one CTA an expert and some tokens; normed input, float32 logit. The last to
// arrive at a token chooses its top k, the last of all makes the lists of a grouped product.
#include "ops/cuda/launch.h"
#include "ops/moe/cuda_moe.cuh"

namespace nibble::ops {
namespace {

using namespace tiles;

// CTAs of a token's router that have written their logit, and tokens that have chosen: zero before and after a launch.
// One stream at a time.
__device__ unsigned router_arrivals[kMoeMaxTokens];
__device__ unsigned router_tokens;

__device__ __forceinline__ float4 unpack_bf16(uint2 four) {
    return make_float4(__uint_as_float(four.x << 16), __uint_as_float(four.x & 0xFFFF0000u),
                       __uint_as_float(four.y << 16), __uint_as_float(four.y & 0xFFFF0000u));
}

// One warp: the contract's choice from the logits in shared memory. score[] and choice[] are scratch of E floats each.
__device__ void choose_experts(const RouterParams& p, int t, const float* logits, float* score, float* choice,
                               int lane) {
    float largest = -INFINITY;
    if (p.softmax) {
        for (int e = lane; e < p.experts; e += 32) largest = fmaxf(largest, logits[e]);
        for (int offset = 16; offset > 0; offset /= 2) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, offset));
    }
    float total = 0;
    for (int e = lane; e < p.experts; e += 32) {
        score[e] = p.softmax ? expf(logits[e] - largest) : 1.0f / (1.0f + expf(-logits[e]));
        total += score[e];
    }
    for (int offset = 16; offset > 0; offset /= 2) total += __shfl_xor_sync(~0u, total, offset);
    for (int e = lane; e < p.experts; e += 32) {
        if (p.softmax) score[e] /= total;
        choice[e] = score[e] + (p.bias ? p.bias[e] : 0.0f);
    }
    __syncwarp();
    if (p.groups > 1) {  // lane g scores group g; lane 0 keeps the best
        const int size = p.experts / p.groups;
        float group_score = -INFINITY;
        if (lane < p.groups) {
            float first = -INFINITY, second = -INFINITY;
            for (int e = lane * size; e < (lane + 1) * size; ++e) {
                if (choice[e] > first)
                    second = first, first = choice[e];
                else if (choice[e] > second)
                    second = choice[e];
            }
            group_score = size > 1 ? first + second : first;
        }
        bool kept = false;
        for (int i = 0; i < p.top_groups; ++i) {
            float best = kept ? -INFINITY : group_score;
            int at = lane;
            for (int offset = 16; offset > 0; offset /= 2) {
                const float other = __shfl_xor_sync(~0u, best, offset);
                const int other_at = __shfl_xor_sync(~0u, at, offset);
                if (other > best || (other == best && other_at < at)) best = other, at = other_at;
            }
            if (at == lane) kept = true;
        }
        if (lane < p.groups && !kept)
            for (int e = lane * size; e < (lane + 1) * size; ++e) choice[e] = -INFINITY;
        __syncwarp();
    }
    int mine = 0x7FFFFFFF;  // lane i < top_k: its chosen expert
    float mine_score = 0;
    for (int i = 0; i < p.top_k; ++i) {
        float best = -INFINITY;
        int at = 0x7FFFFFFF;
        for (int e = lane; e < p.experts; e += 32)
            if (choice[e] > best) best = choice[e], at = e;
        for (int offset = 16; offset > 0; offset /= 2) {
            const float other = __shfl_xor_sync(~0u, best, offset);
            const int other_at = __shfl_xor_sync(~0u, at, offset);
            if (other > best || (other == best && other_at < at)) best = other, at = other_at;
        }
        if (at >= p.experts)
            at = i;  // logits that are not numbers: any expert, the token's output is not a number anyway
        if (lane == 0) choice[at] = -INFINITY;
        if (lane == i) mine = at, mine_score = score[at];
        __syncwarp();
    }
    float sum = lane < p.top_k ? mine_score : 0.0f;
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(~0u, sum, offset);
    const float weight = (p.normalize ? mine_score / (sum + 1e-20f) : mine_score) * p.routed_scale;
    int rank = 0;  // ascending by index
    for (int i = 0; i < p.top_k; ++i) {
        const int other = __shfl_sync(~0u, mine, i);
        if (other < mine) ++rank;
    }
    if (lane < p.top_k) {
        p.chosen[t * p.top_k + rank] = mine;
        p.chosen_weights[t * p.top_k + rank] = weight;
        if (p.expert_tokens) atomicAdd(&p.expert_tokens[mine], 1);
    }
}

// The whole CTA. counts: scratch of 2 E ints in shared memory.
__device__ void make_lists(const RouterParams& p, int* counts, int tid) {
    const MoeLists& lists = p.lists;
    int* cursor = counts + p.experts;
    for (int e = tid; e < p.experts; e += kRouterThreads) counts[e] = 0;
    __syncthreads();
    const int chosen = p.tokens * p.top_k;
    for (int i = tid; i < chosen; i += kRouterThreads) atomicAdd(&counts[__ldcg(p.chosen + i)], 1);
    __syncthreads();
    if (tid < 32) {  // running sums: of columns and of their blocks
        int begin = 0, blocks_begin = 0;
        for (int first = 0; first < p.experts; first += 32) {
            const int e = first + tid;
            const int count = e < p.experts ? counts[e] : 0, blocks = (count + lists.columns - 1) / lists.columns;
            int sum = count, blocks_sum = blocks;
            for (int offset = 1; offset < 32; offset *= 2) {
                const int other = __shfl_up_sync(~0u, sum, offset),
                          other_blocks = __shfl_up_sync(~0u, blocks_sum, offset);
                if (tid >= offset) sum += other, blocks_sum += other_blocks;
            }
            if (e < p.experts) {
                cursor[e] = begin + sum - count;
                counts[e] = (blocks_begin + blocks_sum - blocks) * lists.columns - cursor[e];
                lists.list_begin[e] = cursor[e];
                lists.up_begin[e] = (blocks_begin + blocks_sum - blocks) * lists.up_rows;
                lists.down_begin[e] = (blocks_begin + blocks_sum - blocks) * lists.down_rows;
            }
            begin += __shfl_sync(~0u, sum, 31);
            blocks_begin += __shfl_sync(~0u, blocks_sum, 31);
        }
        if (tid == 0) {
            const int all = (p.tokens + lists.columns - 1) / lists.columns;
            lists.list_begin[p.experts] = begin;
            lists.up_begin[p.experts] = blocks_begin * lists.up_rows;
            lists.up_begin[p.experts + 1] = blocks_begin * lists.up_rows + all * lists.up_shared_rows;
            for (int s = 0; s <= lists.down_shared_segments; ++s)
                lists.down_begin[p.experts + s] = (blocks_begin + s * all) * lists.down_rows;
        }
    }
    __syncthreads();
    for (int i = tid; i < chosen; i += kRouterThreads) {
        const int e = __ldcg(p.chosen + i), at = atomicAdd(&cursor[e], 1);
        lists.list[at] = i;
        if (lists.position != nullptr) lists.position[i] = at + counts[e];
    }
}

__global__ void __launch_bounds__(kRouterThreads, 4) router_kernel(const __grid_constant__ RouterParams p) {
    const int expert = blockIdx.x, tid = threadIdx.x, lane = tid % 32, warp = tid / 32;
    float4 router[kRouterVectors];
    uint2 norm[kRouterVectors];
#pragma unroll
    for (int i = 0; i < kRouterVectors; ++i) {
        const int k = (i * kRouterThreads + tid) * 4;
        router[i] = make_float4(0, 0, 0, 0);
        norm[i] = make_uint2(0x3F803F80u, 0x3F803F80u);
        if (k >= p.h) continue;
        const int64_t at = int64_t{1} * expert * p.h + k;
        router[i] =
            p.router_is_float
                ? *reinterpret_cast<const float4*>(static_cast<const float*>(p.router) + at)
                : unpack_bf16(*reinterpret_cast<const uint2*>(static_cast<const __nv_bfloat16*>(p.router) + at));
        if (p.norm_weight) norm[i] = *reinterpret_cast<const uint2*>(p.norm_weight + k);
    }
    ptx::await_previous_kernel();
    __shared__ float partial[2][kRouterThreads / 32];
    __shared__ bool last;
    extern __shared__ float scratch[];
    const int begin = blockIdx.y * p.tokens_a_cta, end = min(begin + p.tokens_a_cta, p.tokens);
    for (int t = begin; t < end; ++t) {
        float dot = 0, squares = 0;
#pragma unroll
        for (int i = 0; i < kRouterVectors; ++i) {
            const int k = (i * kRouterThreads + tid) * 4;
            if (k >= p.h) continue;
            uint2 four = __ldcg(reinterpret_cast<const uint2*>(p.x + t * p.x_stride + k));
            const float4 x = unpack_bf16(four);
            if (p.norm_weight) {
                squares += x.x * x.x + x.y * x.y + x.z * x.z + x.w * x.w;
                four = make_uint2(multiply_pair(four.x, norm[i].x), multiply_pair(four.y, norm[i].y));
            }
            const float4 v = unpack_bf16(four);
            dot += v.x * router[i].x + v.y * router[i].y + v.z * router[i].z + v.w * router[i].w;
            if (expert == 0) {
                const int s = (k % 64) / 16, r = (k % 16) / 8, q = (k % 8) / 2;
                std::byte* base =
                    p.fragments + (int64_t{1} * t * (p.h / 64) + k / 64) * kTokenTileBytes + (s * 4 + r * 2) * 2;
                *reinterpret_cast<uint32_t*>(base + q * 32) = four.x;
                *reinterpret_cast<uint32_t*>(base + (q + 1) * 32) = four.y;
            }
        }
        for (int offset = 16; offset > 0; offset /= 2) {
            dot += __shfl_xor_sync(~0u, dot, offset);
            squares += __shfl_xor_sync(~0u, squares, offset);
        }
        if (lane == 0) partial[0][warp] = dot, partial[1][warp] = squares;
        __syncthreads();
        if (tid == 0) {
            float sum = 0, square = 0;
            for (int w = 0; w < kRouterThreads / 32; ++w) sum += partial[0][w], square += partial[1][w];
            const float factor = p.norm_weight ? rsqrtf(square / p.h + p.norm_eps) : 1.0f;
            p.logits[t * p.experts + expert] = sum * factor;
            if (expert == 0) p.factors[t] = factor;
            __threadfence();
            last = atomicAdd(&router_arrivals[t], 1u) == static_cast<unsigned>(p.experts - 1);
        }
        __syncthreads();
        if (!last) continue;
        __threadfence();
        for (int e = tid; e < p.experts; e += kRouterThreads) scratch[e] = __ldcg(&p.logits[t * p.experts + e]);
        __syncthreads();
        if (warp == 0) choose_experts(p, t, scratch, scratch + p.experts, scratch + 2 * p.experts, lane);
        __syncthreads();
        if (tid == 0) {
            router_arrivals[t] = 0;
            __threadfence();
            last = p.lists.list != nullptr && atomicAdd(&router_tokens, 1u) == static_cast<unsigned>(p.tokens - 1);
        }
        __syncthreads();
        if (!last) continue;
        __threadfence();
        if (tid == 0) router_tokens = 0;
        make_lists(p, reinterpret_cast<int*>(scratch), tid);
    }
}

}  // namespace

void launch_router(OpContext& context, const RouterParams& router) {
    cuda::launch(router_kernel, "moe_router", context.stream,
                 dim3(static_cast<unsigned>(router.experts),
                      static_cast<unsigned>((router.tokens + router.tokens_a_cta - 1) / router.tokens_a_cta)),
                 kRouterThreads, sizeof(float) * 3 * router.experts, 1, router);
}

}  // namespace nibble::ops
