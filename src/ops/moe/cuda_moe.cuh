// What the CUDA rows of moe share: the router, which deals tokens to experts, and the order of the down product's sums.
#pragma once

#include "ops/cuda/tile_stream.cuh"
#include "ops/linear/stream_plan.h"
#include "ops/moe/moe.h"

#include <cuda_bf16.h>

namespace nibble::ops {

inline constexpr int kRouterThreads = 128;
inline constexpr int kRouterVectors = 8;  // H <= 4 * 128 * 8 = 4096
inline constexpr int kMaxTopK = 32;
inline constexpr int kMaxGroupedExperts = 1024;
inline constexpr int kMoeMaxTokens = 1024;  // of one pass: bounds the scratch

// The lists of a grouped product, made by the router's last CTA: which (token, slot) chose an expert, and where the
// blocks of each matrix begin among all: expert 0 .. E-1, then the shared expert's segments, whose columns are the
// tokens.
struct MoeLists {
    int columns;                          // of a block
    int up_rows, up_shared_rows;          // row blocks of an expert, of the shared one
    int down_rows, down_shared_segments;  // row blocks; segments of the shared expert
    int* list_begin;                      // [E + 1]
    int* list;                            // [T * top_k]: token * top_k + slot
    int* position;                        // [T * top_k] or null: block * columns + column, of every slot
    int* up_begin;                        // [E + 2]
    int* down_begin;                      // [E + segments + 1]
};

struct RouterParams {
    const __nv_bfloat16* x;
    int64_t x_stride;
    const __nv_bfloat16* norm_weight;  // or null
    float norm_eps;
    const void* router;  // [E, H]
    bool router_is_float;
    const float* bias;  // [E] or null
    int tokens, tokens_a_cta;
    int h, experts, top_k, groups, top_groups;
    bool softmax, normalize;
    float routed_scale;
    float* logits;          // [T, E]
    std::byte* fragments;   // [T][H / 64][128]
    float* factors;         // [T]
    int* chosen;            // [T, top_k] ascending
    float* chosen_weights;  // [T, top_k]
    int* expert_tokens;     // [E] or null
    MoeLists lists;         // list == null: none wanted
};
void launch_router(OpContext& context, const RouterParams& router);

// How the down product is dealt: host-made, a function of the shapes and the GPU.
struct DownPlan {
    int row_tiles, groups, cluster;
    int expert_tiles, shared_tiles;  // k tiles
    int segments;                    // top_k + ceil(shared_tiles / expert_tiles)
    int lanes;                       // segments a CTA has at most; each has `lane_warps` warps
    int lane_warps;
    int stage_tiles, share, depth;  // a warp takes `share` tiles of a stage
    int chunks;                     // stages a segment and row
    constexpr int warps() const { return lanes * lane_warps; }
    constexpr int max_rows() const { return (row_tiles + groups - 1) / groups; }
};

// Operands and results of the two products of some tokens.
struct MoeTensors {
    const std::byte *up, *down;  // [E] of a stride
    int64_t up_stride, down_stride;
    const float *up_scales, *down_scales;
    const std::byte *shared_up, *shared_down;  // or null
    float shared_up_scale, shared_down_scale;
    const std::byte* fragments;   // [T][up k tiles][128]
    const float* factors;         // [T], of normalised inputs
    const int* chosen;            // [T, top_k]
    const float* chosen_weights;  // [T, top_k]
    std::byte* hidden;            // [T][(top_k * expert_rows + shared_rows) / 4][128], or null: packed blocks
    const __nv_bfloat16* residual;
    int64_t residual_stride;
    __nv_bfloat16* y;
    int64_t y_stride;
    int tokens, experts, top_k, n;
    int expert_rows, shared_rows;  // row tiles of up
    bool normed;

    __host__ __device__ int hidden_tiles() const { return (top_k * expert_rows + shared_rows) / 4; }
};

// Two tokens or more: every chosen expert's weights are read once for a block of its tokens.
// Blocks of many columns are packed (cuda/tile_gemm.cuh): [expert block][k tiles] and, of the shared expert, [token
// block].
struct GroupedScratch {
    float* partial;  // [T][segments][n]
    MoeLists lists;
    std::byte *inputs, *shared_inputs, *hidden, *shared_hidden;  // or null
};
bool grouped_moe_packs(int tokens);
int64_t grouped_moe_scratch_bytes(const MoeArgs& a, const DownPlan& down, int tokens);
GroupedScratch grouped_moe_scratch(std::byte* scratch, const MoeArgs& a, const DownPlan& down, int tokens);
void run_grouped_moe(OpContext& context, WeightFormat format, const MoeTensors& tensors, const StreamPlan& up,
                     const DownPlan& down, const GroupedScratch& scratch);

// relu² of an up product's sum, rounded; the same in every kernel.
__device__ __forceinline__ __nv_bfloat16 hidden_value(float sum, float scale, float unscale, float factor) {
    const float v = sum * scale * (unscale * factor);
    return __float2bfloat16_rn(v <= 0.0f ? 0.0f : v * v);
}
// A segment's part of the output: no multiply-add may take this product.
__device__ __forceinline__ float weighted(float sum, float scale, float unscale, float weight) {
    return __fmul_rn(__fmul_rn(sum, __fmul_rn(scale, unscale)), weight);
}
__device__ __forceinline__ void store_fragment(std::byte* tile0, int n, __nv_bfloat16 value,
                                               int tile_stride = tiles::kTokenTileBytes) {
    const int s = (n % 64) / 16, r = (n % 16) / 8, q = (n % 8) / 2, j = n % 2;
    *reinterpret_cast<__nv_bfloat16*>(tile0 + int64_t{1} * (n / 64) * tile_stride + q * 32 + (s * 4 + r * 2 + j) * 2) =
        value;
}

}  // namespace nibble::ops
