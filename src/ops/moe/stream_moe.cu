// The routed MoE for few tokens on a GPU, in three kernels a token does not share with others:
//   router   one CTA an expert: normed input, float32 logit; the last to arrive chooses the top k
//   up       row tiles of the shared expert (requested before the dependency wait) and of the chosen experts dealt to
//   the
//            CTAs in turn; relu², rounded, stored as B fragments of the next product
//   down     a cluster of two per group of row tiles; each CTA's segments (an expert, or an expert's worth of the
//   shared
//            one) have their own warps; sums: warps of a segment in order, experts in ascending index, the shared last
// The grid's second dimension is the token. Weights are read once a token; the L2 cache serves what tokens share.
#include "ops/cuda/launch.h"
#include "ops/cuda/tile_stream.cuh"
#include "ops/linear/stream_plan.h"
#include "ops/moe/cuda_rows.h"

#include <cuda_bf16.h>

namespace nibble::ops {
namespace {

using namespace tiles;

constexpr int kMaxTopK = 32;
constexpr int kRouterThreads = 128;
constexpr int kRouterVectors = 8;  // H <= 4 * 128 * 8 = 4096

struct RouterParams {
    const __nv_bfloat16* x;
    int64_t x_stride;
    const __nv_bfloat16* norm_weight;  // or null
    float norm_eps;
    const void* router;  // [E, H]
    bool router_is_float;
    const float* bias;  // [E] or null
    int h, experts, top_k, groups, top_groups;
    bool softmax, normalize;
    float routed_scale;
    float* logits;          // [T, E]
    std::byte* fragments;   // [T][H / 64][128]
    float* factors;         // [T]
    int* chosen;            // [T, top_k] ascending
    float* chosen_weights;  // [T, top_k]
    int* expert_tokens;     // [E] or null
};

// CTAs of a token's router that have written their logit: zero before and after a launch. One stream at a time.
__device__ unsigned router_arrivals[kStreamMoeMaxTokens];

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

__global__ void __launch_bounds__(kRouterThreads) router_kernel(const __grid_constant__ RouterParams p) {
    const int expert = blockIdx.x, t = blockIdx.y, tid = threadIdx.x, lane = tid % 32, warp = tid / 32;
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
    __shared__ float partial[2][kRouterThreads / 32];
    __shared__ bool last;
    extern __shared__ float scratch[];
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
    if (!last) return;
    __threadfence();
    float* logits = scratch;
    for (int e = tid; e < p.experts; e += kRouterThreads) logits[e] = __ldcg(&p.logits[t * p.experts + e]);
    __syncthreads();
    if (warp == 0) choose_experts(p, t, logits, scratch + p.experts, scratch + 2 * p.experts, lane);
    if (tid == 0) router_arrivals[t] = 0;
}

struct UpParams {
    const std::byte* experts;  // [E] of expert_stride
    int64_t expert_stride;
    const float* expert_scales;
    const std::byte* shared;  // or null
    float shared_scale;
    const std::byte* fragments;  // [T][k tiles][128]
    const float* factors;
    const int* chosen;
    std::byte* hidden;             // [T][top_k * expert tiles + shared tiles][128]
    int expert_rows, shared_rows;  // row tiles
    int top_k;
    bool normed;
    uint32_t sixteen;
    StreamPlan plan;  // of all row tiles; cluster 1
};

__device__ __forceinline__ void store_fragment(std::byte* tile0, int n, __nv_bfloat16 value) {
    const int s = (n % 64) / 16, r = (n % 16) / 8, q = (n % 8) / 2, j = n % 2;
    *reinterpret_cast<__nv_bfloat16*>(tile0 + (n / 64) * kTokenTileBytes + q * 32 + (s * 4 + r * 2 + j) * 2) = value;
}

template <class Tile>
__global__ void __launch_bounds__((kStreamMaxWarps + 1) * 32, 2) moe_up_kernel(const __grid_constant__ UpParams p) {
    extern __shared__ __align__(128) std::byte shared[];
    const StreamPlan& plan = p.plan;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = plan.warps, t = blockIdx.y;
    std::byte* tokens_shared = shared + plan.ring_bytes(Tile::kBytes);
    std::byte* zeros = tokens_shared + plan.k_tiles * kTokenTileBytes;
    float* sums = reinterpret_cast<float*>(zeros + kTokenTileBytes);
    __shared__ uint64_t barriers[2 * kStreamMaxDepth + 1];
    __shared__ int chosen[kMaxTopK];
    uint64_t* tokens_full = barriers + 2 * kStreamMaxDepth;
    Ring ring{shared, barriers, barriers + kStreamMaxDepth, plan.stage_tiles * Tile::kBytes, plan.depth};

    const int64_t row_bytes = int64_t{1} * plan.k_tiles * Tile::kBytes;
    const uint64_t policy = ptx::evict_first_policy();
    const int stages_a_row = (plan.k_tiles + plan.stage_tiles - 1) / plan.stage_tiles;
    int fill_row = blockIdx.x, fill_tile = 0, filled = 0, may_fill = plan.depth;
    const auto fill = [&] {
        const std::byte* source;
        if (fill_row < p.shared_rows) {
            source = p.shared + fill_row * row_bytes;
        } else {
            const int slot = (fill_row - p.shared_rows) / p.expert_rows,
                      row = (fill_row - p.shared_rows) % p.expert_rows;
            source = p.experts + chosen[slot] * p.expert_stride + row * row_bytes;
        }
        const int count = min(plan.stage_tiles, plan.k_tiles - fill_tile);
        ring.fill(source + int64_t{1} * fill_tile * Tile::kBytes, count * Tile::kBytes, policy);
        fill_tile += count;
        if (fill_tile == plan.k_tiles) fill_tile = 0, fill_row += gridDim.x;
        ++filled;
    };
    if (threadIdx.x == warps * 32) {
        ptx::mbarrier_init(tokens_full, 1);
        ring.init(warps);
        while (filled < plan.depth && fill_row < p.shared_rows) fill();
    }
    if (threadIdx.x < kTokenTileBytes / 16) reinterpret_cast<uint4*>(zeros)[threadIdx.x] = make_uint4(0, 0, 0, 0);
    ptx::await_previous_kernel();  // the router: what it chose is there for moe_down before its own wait
    if (warp == warps) {
        if (lane < p.top_k) chosen[lane] = __ldcg(p.chosen + t * p.top_k + lane);
        __syncwarp();
        if (lane == 0) {
            const uint32_t bytes = static_cast<uint32_t>(plan.k_tiles * kTokenTileBytes);
            ptx::fence_proxy_async();
            ptx::mbarrier_arrive_expect(tokens_full, bytes);
            ptx::bulk_load(tokens_shared, p.fragments + int64_t{1} * t * bytes, bytes, tokens_full,
                           ptx::evict_last_policy());
            while (filled < plan.depth && fill_row < plan.row_tiles) fill();
        }
        __syncwarp();
    }
    __syncthreads();
    ptx::mbarrier_wait(tokens_full, 0);
    const float factor = p.normed ? __ldcg(p.factors + t) : 1.0f;

    TokenColumns<1> columns;
    columns.opaque_sixteen = p.sixteen;
    columns.point(0, tokens_shared, zeros, (lane >> 2) == 0 ? 0 : -1, 1, lane);
    const int my_rows = (plan.row_tiles - blockIdx.x + gridDim.x - 1) / gridDim.x;
    std::byte* hidden = p.hidden + (int64_t{1} * t * (p.top_k * p.expert_rows + p.shared_rows) / 4) * kTokenTileBytes;
    for (int first = 0; first < my_rows; first += plan.sum_rows) {
        const int rows_now = min(plan.sum_rows, my_rows - first);
        if (warp == warps) {
            may_fill += rows_now * stages_a_row;
            if (lane == 0)
                while (fill_row < plan.row_tiles && filled < may_fill) fill();
            __syncwarp();
        } else {
            for (int row = 0; row < rows_now; ++row) {
                float acc[1][4] = {};
                for (int tile = 0; tile < plan.k_tiles; tile += plan.stage_tiles) {
                    const std::byte* stage = ring.await();
                    const int count = min(plan.stage_tiles, plan.k_tiles - tile);
                    for (int i = warp; i < count; i += warps)
                        multiply_tile<Tile, 1>(stage + i * Tile::kBytes, tile + i, columns, lane, acc);
                    ring.release(lane);
                }
                store_sums<1, 1>(sums + (row * warps + warp) * 16, acc, lane);
            }
        }
        __syncthreads();
        for (int i = threadIdx.x; i < rows_now * 16; i += blockDim.x) {
            const float* at = sums + (i / 16) * warps * 16 + i % 16;
            float sum = 0;
            for (int w = 0; w < warps; ++w) sum += at[w * 16];
            const int row = blockIdx.x + (first + i / 16) * gridDim.x;
            int n = row * 16 + i % 16, tile_base = p.top_k * p.expert_rows / 4;  // of the shared expert's hidden tiles
            float scale = p.shared_scale;
            if (row >= p.shared_rows) {
                const int slot = (row - p.shared_rows) / p.expert_rows;
                n -= (p.shared_rows + slot * p.expert_rows) * 16;
                tile_base = slot * p.expert_rows / 4;
                scale = p.expert_scales[chosen[slot]];
            }
            const float v = sum * scale * (Tile::kUnscale * factor);
            store_fragment(hidden + int64_t{1} * tile_base * kTokenTileBytes, n,
                           __float2bfloat16_rn(v <= 0.0f ? 0.0f : v * v));
        }
        if (first + plan.sum_rows < my_rows) __syncthreads();
    }
}

// How the down product is dealt: host-made, a function of the shapes and the GPU.
struct DownPlan {
    int row_tiles, groups, cluster;
    int expert_tiles, shared_tiles;  // k tiles
    int segments;                    // top_k + ceil(shared_tiles / expert_tiles)
    int lanes;                       // segments a CTA has at most; each has `lane_warps` warps
    int lane_warps;
    int stage_tiles, depth;
    int chunks;  // stages a segment and row
    constexpr int warps() const { return lanes * lane_warps; }
    constexpr int max_rows() const { return (row_tiles + groups - 1) / groups; }
};

struct DownParams {
    const std::byte* experts;
    int64_t expert_stride;
    const float* expert_scales;
    const std::byte* shared;
    float shared_scale;
    const std::byte* hidden;
    const int* chosen;
    const float* chosen_weights;
    const __nv_bfloat16* residual;
    int64_t residual_stride;
    __nv_bfloat16* y;
    int64_t y_stride;
    int top_k, n;
    uint32_t sixteen;
    DownPlan plan;
};

template <class Tile>
__global__ void __launch_bounds__((kStreamMaxWarps + 1) * 32, 2) moe_down_kernel(const __grid_constant__ DownParams p) {
    extern __shared__ __align__(128) std::byte shared[];
    const DownPlan& plan = p.plan;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = plan.warps(), t = blockIdx.y;
    const int rank = plan.cluster > 1 ? static_cast<int>(ptx::cluster_rank()) : 0, group = blockIdx.x / plan.cluster;
    const int row_begin = group * plan.row_tiles / plan.groups, row_end = (group + 1) * plan.row_tiles / plan.groups;
    const int seg_begin = rank * plan.segments / plan.cluster, seg_end = (rank + 1) * plan.segments / plan.cluster;
    const int my_segments = seg_end - seg_begin, rows = row_end - row_begin;
    const int hidden_tiles = p.top_k * plan.expert_tiles + plan.shared_tiles;
    const auto segment_tiles = [&](int segment) {
        return segment < p.top_k ? plan.expert_tiles
                                 : min(plan.expert_tiles, plan.shared_tiles - (segment - p.top_k) * plan.expert_tiles);
    };
    const int stage_bytes = plan.stage_tiles * Tile::kBytes;
    std::byte* tokens_shared = shared + plan.depth * stage_bytes;
    std::byte* zeros = tokens_shared + plan.lanes * plan.expert_tiles * kTokenTileBytes;
    float* sums = reinterpret_cast<float*>(zeros + kTokenTileBytes);  // [row][warp][16]
    float* remote = sums + plan.max_rows() * warps * 16;              // rank 0: [other segment][row][16]
    __shared__ uint64_t barriers[2 * kStreamMaxDepth + 1];
    uint64_t* tokens_full = barriers + 2 * kStreamMaxDepth;
    uint64_t *full = barriers, *empty = barriers + kStreamMaxDepth;

    // Stage number ((row * segments + segment) * chunks + chunk), filled in that order; slot = number % depth.
    const int stages = rows * my_segments * plan.chunks;
    const uint64_t policy = ptx::evict_first_policy();
    const auto fill = [&](int number) {
        const int chunk = number % plan.chunks, at = number / plan.chunks % my_segments,
                  row = number / plan.chunks / my_segments;
        const int segment = seg_begin + at;
        const int first = chunk * plan.stage_tiles, count = min(plan.stage_tiles, segment_tiles(segment) - first);
        const std::byte* source = segment < p.top_k
                                      ? p.experts + __ldcg(p.chosen + t * p.top_k + segment) * p.expert_stride +
                                            int64_t{1} * (row_begin + row) * plan.expert_tiles * Tile::kBytes
                                      : p.shared + (int64_t{1} * (row_begin + row) * plan.shared_tiles +
                                                    (segment - p.top_k) * plan.expert_tiles) *
                                                       Tile::kBytes;
        const int slot = number % plan.depth;
        ptx::mbarrier_wait(&empty[slot], (static_cast<uint32_t>(number / plan.depth) & 1u) ^ 1u);
        ptx::mbarrier_arrive_expect(&full[slot], static_cast<uint32_t>(max(count, 0) * Tile::kBytes));
        if (count > 0)
            ptx::bulk_load(shared + slot * stage_bytes, source + int64_t{1} * first * Tile::kBytes,
                           static_cast<uint32_t>(count * Tile::kBytes), &full[slot], policy);
    };
    if (threadIdx.x == warps * 32) {
        for (int i = 0; i < plan.depth; ++i) {
            ptx::mbarrier_init(&full[i], 1);
            ptx::mbarrier_init(&empty[i], static_cast<uint32_t>(plan.lane_warps));
        }
        ptx::mbarrier_init(tokens_full, 1);
        ptx::mbarrier_init_fence();
        for (int i = 0; i < min(plan.depth, stages); ++i) fill(i);
    }
    if (threadIdx.x < kTokenTileBytes / 16) reinterpret_cast<uint4*>(zeros)[threadIdx.x] = make_uint4(0, 0, 0, 0);
    if (plan.cluster > 1) ptx::cluster_arrive();

    ptx::await_previous_kernel();
    if (threadIdx.x == warps * 32) {
        const int first = seg_begin * plan.expert_tiles;
        int count = 0;
        for (int s = seg_begin; s < seg_end; ++s) count += segment_tiles(s);
        const uint32_t bytes = static_cast<uint32_t>(count * kTokenTileBytes);
        ptx::fence_proxy_async();
        ptx::mbarrier_arrive_expect(tokens_full, bytes);
        ptx::bulk_load(tokens_shared, p.hidden + (int64_t{1} * t * hidden_tiles + first) * kTokenTileBytes, bytes,
                       tokens_full, ptx::evict_last_policy());
    }
    unsigned short residual_bits = 0;
    const int my_n = row_begin * 16 + threadIdx.x;
    if (p.residual && rank == 0 && threadIdx.x < rows * 16 && my_n < p.n)
        residual_bits = __ldcg(reinterpret_cast<const unsigned short*>(p.residual + t * p.residual_stride + my_n));
    __syncthreads();
    ptx::mbarrier_wait(tokens_full, 0);
    if (plan.cluster > 1) ptx::cluster_wait();

    if (warp == warps) {
        if (lane == 0)
            for (int i = plan.depth; i < stages; ++i) fill(i);
        __syncwarp();
    } else {
        const int at = warp / plan.lane_warps, part = warp % plan.lane_warps;
        if (at < my_segments) {
            TokenColumns<1> columns;
            columns.opaque_sixteen = p.sixteen;
            columns.point(0, tokens_shared + at * plan.expert_tiles * kTokenTileBytes, zeros, (lane >> 2) == 0 ? 0 : -1,
                          1, lane);
            const int tiles_here = segment_tiles(seg_begin + at);
            for (int row = 0; row < rows; ++row) {
                float acc[1][4] = {};
                for (int chunk = 0; chunk < plan.chunks; ++chunk) {
                    const int number = (row * my_segments + at) * plan.chunks + chunk, slot = number % plan.depth;
                    const int first = chunk * plan.stage_tiles, count = min(plan.stage_tiles, tiles_here - first);
                    ptx::mbarrier_wait(&full[slot], static_cast<uint32_t>(number / plan.depth) & 1u);
                    for (int i = part; i < count; i += plan.lane_warps)
                        multiply_tile<Tile, 1>(shared + slot * stage_bytes + i * Tile::kBytes, first + i, columns, lane,
                                               acc);
                    __syncwarp();
                    if (lane == 0) ptx::mbarrier_arrive(&empty[slot]);
                }
                store_sums<1, 1>(sums + (row * warps + warp) * 16, acc, lane);
            }
        }
    }
    __syncthreads();
    // A segment's warps in order, weighted; then segments in order.
    const auto segment_value = [&](int at, int row, int r) {
        float sum = 0;
        for (int part = 0; part < plan.lane_warps; ++part)
            sum += sums[(row * warps + at * plan.lane_warps + part) * 16 + r];
        const int segment = seg_begin + at;
        if (segment >= p.top_k) return sum * (p.shared_scale * Tile::kUnscale);
        const int expert = __ldcg(p.chosen + t * p.top_k + segment);
        return sum * (p.expert_scales[expert] * Tile::kUnscale) * __ldcg(p.chosen_weights + t * p.top_k + segment);
    };
    if (rank != 0) {
        const int first_other = seg_begin - plan.segments / plan.cluster;
        for (int i = threadIdx.x; i < my_segments * rows * 16; i += blockDim.x) {
            const int at = i / (rows * 16), row = i / 16 % rows, r = i % 16;
            ptx::store_remote(ptx::map_to_rank(remote + ((first_other + at) * plan.max_rows() + row) * 16 + r, 0),
                              segment_value(at, row, r));
        }
    }
    if (plan.cluster > 1) {
        ptx::cluster_arrive();
        ptx::cluster_wait();
    }
    if (rank != 0) return;
    for (int i = threadIdx.x; i < rows * 16; i += blockDim.x) {
        const int row = i / 16, r = i % 16, n = (row_begin + row) * 16 + r;
        if (n >= p.n) continue;
        float sum = 0;
        for (int at = 0; at < my_segments; ++at) sum += segment_value(at, row, r);
        for (int other = 0; other < plan.segments - my_segments; ++other)
            sum += remote[(other * plan.max_rows() + row) * 16 + r];
        __nv_bfloat16 rounded = __float2bfloat16_rn(sum);
        if (p.residual) {
            if (i != threadIdx.x)
                residual_bits = __ldcg(reinterpret_cast<const unsigned short*>(p.residual + t * p.residual_stride + n));
            rounded = __float2bfloat16_rn(__bfloat162float(rounded) + __uint_as_float(uint32_t{residual_bits} << 16));
        }
        p.y[t * p.y_stride + n] = rounded;
    }
}

int tile_bytes(WeightFormat format) {
    switch (format) {
        case WeightFormat::nvfp4:
            return layout::kNvfp4TileBytes;
        case WeightFormat::fp8:
            return layout::kFp8TileBytes;
        default:
            return layout::kBf16TileBytes;
    }
}

DownPlan plan_down(const MoeArgs& a, int multiprocessors) {
    DownPlan plan{};
    plan.row_tiles = static_cast<int>(a.down.first.n / 16);
    plan.expert_tiles = static_cast<int>(a.down.first.k / 64);
    plan.shared_tiles = a.shared_down.empty() ? 0 : static_cast<int>(a.shared_down.k / 64);
    plan.segments = static_cast<int>(a.top_k) + (plan.shared_tiles + plan.expert_tiles - 1) / plan.expert_tiles;
    plan.cluster = plan.segments > 1 ? 2 : 1;
    plan.groups = std::min(multiprocessors / plan.cluster, plan.row_tiles);
    plan.lanes = (plan.segments + plan.cluster - 1) / plan.cluster;
    plan.lane_warps = std::clamp((kStreamMaxWarps - 1) / plan.lanes, 1, plan.expert_tiles);
    const int bytes = tile_bytes(a.down.first.format);
    plan.stage_tiles = std::min(plan.expert_tiles, std::max(1, kStreamStageBytes / bytes));
    plan.chunks = (plan.expert_tiles + plan.stage_tiles - 1) / plan.stage_tiles;
    plan.stage_tiles = (plan.expert_tiles + plan.chunks - 1) / plan.chunks;
    plan.depth = std::clamp(86 * 1024 / (plan.stage_tiles * bytes), 2, kStreamMaxDepth);
    return plan;
}

template <class Tile>
void run_format(OpContext& context, const MoeArgs& a, const UpParams& up, const DownParams& down, int tokens) {
    const StreamPlan& plan = up.plan;
    const size_t up_shared = static_cast<size_t>(plan.ring_bytes(Tile::kBytes)) + (plan.k_tiles + 1) * kTokenTileBytes +
                             sizeof(float) * plan.sum_rows * plan.warps * 16;
    const DownPlan& d = down.plan;
    const size_t down_shared = static_cast<size_t>(d.depth) * d.stage_tiles * Tile::kBytes +
                               (d.lanes * d.expert_tiles + 1) * kTokenTileBytes +
                               sizeof(float) * d.max_rows() * 16 * (d.warps() + d.segments);
    static const bool allowed = (cuda::allow_shared(moe_up_kernel<Tile>, 220 * 1024),
                                 cuda::allow_shared(moe_down_kernel<Tile>, 220 * 1024), true);
    (void)allowed;
    (void)a;
    const dim3 grid(static_cast<unsigned>(plan.groups), static_cast<unsigned>(tokens));
    cuda::launch(moe_up_kernel<Tile>, "moe_up", context.stream, grid, plan.threads(), up_shared, 1, up);
    cuda::launch(moe_down_kernel<Tile>, "moe_down", context.stream,
                 dim3(static_cast<unsigned>(d.groups * d.cluster), static_cast<unsigned>(tokens)), (d.warps() + 1) * 32,
                 down_shared, static_cast<unsigned>(d.cluster), down);
}

struct Scratch {
    int64_t logits, fragments, factors, chosen, chosen_weights, hidden, total;
    Scratch(const MoeArgs& a) {
        const int64_t t = std::min<int64_t>(a.x.dim(0), kStreamMoeMaxTokens), h = a.x.dim(1);
        const auto take = [this](int64_t bytes) { return std::exchange(total, total + (bytes + 255) / 256 * 256); };
        total = 0;
        logits = take(t * a.up.count * 4);
        fragments = take(t * (h / 64) * kTokenTileBytes);
        factors = take(t * 4);
        chosen = take(t * a.top_k * 4);
        chosen_weights = take(t * a.top_k * 4);
        hidden = take(t * ((a.top_k * a.down.first.k + a.shared_down.k) / 64) * kTokenTileBytes);
    }
};

void run_some(OpContext& context, const MoeArgs& a) {
    const Scratch at(a);
    std::byte* scratch = context.arena->allocate_bytes(at.total);
    const int tokens = static_cast<int>(a.x.dim(0)), h = static_cast<int>(a.x.dim(1));
    RouterParams router{.x = a.x.as<__nv_bfloat16>(),
                        .x_stride = a.x.row_stride(),
                        .norm_weight = a.norm_weight.as<__nv_bfloat16>(),
                        .norm_eps = a.norm_eps,
                        .router = a.router.data,
                        .router_is_float = a.router.format == WeightFormat::f32,
                        .bias = a.correction_bias.as<float>(),
                        .h = h,
                        .experts = static_cast<int>(a.up.count),
                        .top_k = static_cast<int>(a.top_k),
                        .groups = static_cast<int>(a.expert_groups),
                        .top_groups = static_cast<int>(a.top_groups),
                        .softmax = a.score == RouterScore::softmax,
                        .normalize = a.normalize,
                        .routed_scale = a.routed_scale,
                        .logits = reinterpret_cast<float*>(scratch + at.logits),
                        .fragments = scratch + at.fragments,
                        .factors = reinterpret_cast<float*>(scratch + at.factors),
                        .chosen = reinterpret_cast<int*>(scratch + at.chosen),
                        .chosen_weights = reinterpret_cast<float*>(scratch + at.chosen_weights),
                        .expert_tokens = a.expert_tokens.as<int>()};
    cuda::launch(router_kernel, "moe_router", context.stream,
                 dim3(static_cast<unsigned>(router.experts), static_cast<unsigned>(tokens)), kRouterThreads,
                 sizeof(float) * 3 * router.experts, 1, router);

    const int shared_n = static_cast<int>(a.shared_up.n), expert_n = static_cast<int>(a.up.first.n);
    UpParams up{.experts = a.up.first.data,
                .expert_stride = a.up.stride_bytes,
                .expert_scales = a.up.scales.as<float>(),
                .shared = a.shared_up.data,
                .shared_scale = a.shared_up.scale,
                .fragments = router.fragments,
                .factors = router.factors,
                .chosen = router.chosen,
                .hidden = scratch + at.hidden,
                .expert_rows = expert_n / 16,
                .shared_rows = shared_n / 16,
                .top_k = router.top_k,
                .normed = !a.norm_weight.empty(),
                .sixteen = 16,
                .plan = {}};
    up.plan = plan_stream(int64_t{1} * router.top_k * expert_n + shared_n, h, tile_bytes(a.up.first.format),
                          context.device->multiprocessors, 92 * 1024, 1);
    DownParams down{.experts = a.down.first.data,
                    .expert_stride = a.down.stride_bytes,
                    .expert_scales = a.down.scales.as<float>(),
                    .shared = a.shared_down.data,
                    .shared_scale = a.shared_down.scale,
                    .hidden = up.hidden,
                    .chosen = router.chosen,
                    .chosen_weights = router.chosen_weights,
                    .residual = a.residual.as<__nv_bfloat16>(),
                    .residual_stride = a.residual.empty() ? 0 : a.residual.row_stride(),
                    .y = a.y.as<__nv_bfloat16>(),
                    .y_stride = a.y.row_stride(),
                    .top_k = router.top_k,
                    .n = h,
                    .sixteen = 16,
                    .plan = plan_down(a, context.device->multiprocessors)};
    switch (a.up.first.format) {
        case WeightFormat::nvfp4:
            return run_format<Nvfp4Tile>(context, a, up, down, tokens);
        case WeightFormat::fp8:
            return run_format<Fp8Tile>(context, a, up, down, tokens);
        case WeightFormat::bf16:
            return run_format<Bf16Tile>(context, a, up, down, tokens);
        case WeightFormat::f32:
            break;
    }
    CHECK(false, "stream_moe: {}", name(a.up.first.format));
}

}  // namespace

bool stream_moe_accepts(const MoeArgs& a, const device::Device&) {
    const auto tiled = [&](const Weight& w) {
        return w.format == a.up.first.format && w.layout == WeightLayout::cuda_tiles && w.row_scale.empty() &&
               w.n % 64 == 0 && w.k % 64 == 0;
    };
    return a.activation == Activation::relu2 && a.x.dtype() == DType::bf16 && a.y.dtype() == DType::bf16 &&
           a.x.row_stride() % 4 == 0 && tiled(a.up.first) && tiled(a.down.first) &&
           (a.shared_up.empty() || (tiled(a.shared_up) && tiled(a.shared_down))) && a.shared_gate.empty() &&
           a.top_k <= kMaxTopK && a.expert_groups <= 32 && a.up.count <= 4096 &&
           a.x.dim(1) <= 4 * kRouterThreads * kRouterVectors &&
           (a.router.format == WeightFormat::f32 || a.router.format == WeightFormat::bf16) &&
           a.router.layout == WeightLayout::row_major && a.router.scale == 1.0f;
}

int64_t stream_moe_scratch_bytes(const MoeArgs& a, const device::Device&) {
    return Scratch(a).total;
}

void run_stream_moe(OpContext& context, const MoeArgs& all) {
    for (int64_t first = 0; first < all.x.dim(0); first += kStreamMoeMaxTokens) {
        const int64_t last = std::min<int64_t>(first + kStreamMoeMaxTokens, all.x.dim(0));
        MoeArgs some = all;
        some.x = all.x.rows(first, last);
        some.y = all.y.rows(first, last);
        if (!all.residual.empty()) some.residual = all.residual.rows(first, last);
        device::ArenaScope scope(*context.arena);
        run_some(context, some);
    }
}

}  // namespace nibble::ops
