// attention on tensor cores: a CTA takes 16 rows (the query heads of a group, of one token or of a few) of one
// key-value head, its eight warps take spans of the keys.
//
// Tile of a warp, m16n8k16: 16 rows x 32 keys. Keys and values come straight from their pages to registers, 16 bytes a
// lane: dims are summed in another order than they lie (the same for queries and keys), and columns of the result stand
// for other dims than their number, so that no lane needs what another loaded. Weights are two bf16 numbers, high and
// low part, so sums are as good as float32.
//
// Order of merging: keys are cut at absolute positions into spans (span_keys, by the row's own position), a span's
// tiles go online in order, eight spans make a group, groups are added up in order. Groups run side by side in CTAs of
// their own when rows are few, one after the other when they are many, with the same arithmetic: a row's result depends
// on its position alone. What bounds it: the bytes of the keys and values; for a short context, four round trips to
// memory (page, key, value, merge).
#include "ops/attention/attention_params.cuh"
#include "ops/attention/cuda_rows.h"
#include "ops/cuda/elements.cuh"
#include "ops/cuda/launch.h"
#include "ops/cuda/ptx.cuh"

#include <cuda_fp8.h>

#include <algorithm>

namespace nibble::ops {
namespace {

constexpr int kWarps = 8, kThreads = kWarps * 32;
constexpr int kRows = 16, kTileKeys = 32;
constexpr int kMaxGroups = 64;  // of a context, whatever its length
constexpr float kLog2E = 1.4426950408889634f;

// Keys of a span for the row at `position`.
__host__ __device__ constexpr int span_keys(int64_t position) {
    int64_t span = kTileKeys;
    while (position >= span * kWarps * kMaxGroups) span *= 2;
    return static_cast<int>(span);
}

__device__ unsigned mma_attention_arrivals[kMaxRows * 64];

// Eight elements of the cache as bf16, of which every value of the cache is one.
template <Cache kCache>
__device__ __forceinline__ uint4 load_eight(const void* pages, int64_t at) {
    if constexpr (kCache == Cache::bf16) {
        return __ldcg(reinterpret_cast<const uint4*>(static_cast<const __nv_bfloat16*>(pages) + at));
    } else {
        uint32_t words[4];
        if constexpr (kCache == Cache::f32) {
            const auto* from = reinterpret_cast<const float4*>(static_cast<const float*>(pages) + at);
            const float4 low = __ldcg(from), high = __ldcg(from + 1);
            const float values[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
            for (int i = 0; i < 4; ++i) words[i] = cuda::pack_bf16(values[2 * i], values[2 * i + 1]);
        } else {
            const uint2 codes = __ldcg(reinterpret_cast<const uint2*>(static_cast<const unsigned char*>(pages) + at));
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const uint32_t word = i < 2 ? codes.x : codes.y;
                const auto pair = static_cast<__nv_fp8x2_storage_t>(word >> (16 * (i % 2)));
                const float2 values = __half22float2(__half2(__nv_cvt_fp8x2_to_halfraw2(pair, __NV_E4M3)));
                words[i] = cuda::pack_bf16(values.x, values.y);
            }
        }
        return {words[0], words[1], words[2], words[3]};
    }
}

// Rows [first_row, first_row + tokens) of a sequence, the first at `position`.
struct RowTile {
    int sequence = -1, first_row = 0, tokens = 0, position = 0;
};

// Tile i when every sequence's rows are cut by `tokens_a_tile`. By whole warps.
__device__ RowTile find_tile(const AttentionParams& p, int i, int tokens_a_tile) {
    const int lane = threadIdx.x % 32;
    for (int base = 0; base < p.sequences; base += 32) {
        const int b = base + lane;
        const int start = b < p.sequences ? __ldcg(p.row_start + b) : 0;
        const int rows = b < p.sequences ? __ldcg(p.row_start + b + 1) - start : 0;
        const int tiles = (rows + tokens_a_tile - 1) / tokens_a_tile;
        int through = tiles;
#pragma unroll
        for (int offset = 1; offset < 32; offset *= 2) {
            const int below = __shfl_up_sync(~0u, through, offset);
            if (lane >= offset) through += below;
        }
        const unsigned found = __ballot_sync(~0u, i < through);
        if (found != 0) {
            const int at = __ffs(static_cast<int>(found)) - 1;
            const int its_start = __shfl_sync(~0u, start, at), its_rows = __shfl_sync(~0u, rows, at);
            const int before = __shfl_sync(~0u, through - tiles, at), skipped = (i - before) * tokens_a_tile;
            const int context = __ldcg(p.context_length + base + at);
            return {base + at, its_start + skipped, min(tokens_a_tile, its_rows - skipped),
                    context - its_rows + skipped};
        }
        i -= __shfl_sync(~0u, through, 31);
    }
    return {};
}

// Eight outputs of a row (kDim / 16 of them) with the largest score (base 2) and the sum of weights behind them.
template <int kOutputs>
struct Merged {
    float largest = -INFINITY, total = 0, sum[kOutputs] = {};

    // Keys after these.
    __device__ __forceinline__ void add(float other_largest, float other_total, const float* other_sum) {
        if (other_largest == -INFINITY) return;
        const float top = fmaxf(largest, other_largest);
        const float mine = exp2f(largest - top), other = exp2f(other_largest - top);
        largest = top;
        total = total * mine + other_total * other;
#pragma unroll
        for (int i = 0; i < kOutputs; ++i) sum[i] = sum[i] * mine + other_sum[i] * other;
    }
};

template <int kDim, Cache kCache>
__global__ void __launch_bounds__(kThreads, 1)
    mma_attention_kernel(const __grid_constant__ AttentionParams p, int tokens_a_tile) {
    constexpr int kStride = kDim + 4;  // floats; rows begin in different banks
    constexpr int kOutputs = kDim / 16;
    extern __shared__ float shared[];
    float* span_sums = shared;                              // [warp][row][kStride]
    float* span_stats = shared + kWarps * kRows * kStride;  // [warp][row][2]
    __shared__ bool last;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, c = lane % 4;
    const int head = blockIdx.y / p.group_parts, part = blockIdx.y % p.group_parts;
    const int queries = min(kMaxGroup, p.group - part * kMaxGroup), first_query = head * p.group + part * kMaxGroup;
    const bool side_by_side = p.max_splits > 1;
    const float scale = p.scale * p.k_scale * kLog2E;

    ptx::await_previous_kernel();
    const RowTile tile = find_tile(p, blockIdx.x, tokens_a_tile);
    if (tile.sequence < 0) return;
    const int last_position = tile.position + tile.tokens - 1;
    const int first_key = p.window > 0 ? max(0, tile.position + 1 - p.window) : 0;
    const int32_t* pages = p.page_table + tile.sequence * p.page_table_stride;
    // Row r is query r % queries of token r / queries.
    const int my_row = threadIdx.x / 16, my_token = my_row / queries;  // whose outputs this thread merges
    const int my_position = my_token < tile.tokens ? tile.position + my_token : -1;

    // Queries as A fragments: of each 32 dims a lane has eight in a row, for two products.
    uint32_t q[kDim / 16][4];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int row = g + 8 * half, token = row / queries;
        const __nv_bfloat16* from =
            p.q + (tile.first_row + token) * p.q_stride + (first_query + row % queries) * kDim + c * 8;
#pragma unroll
        for (int chunk = 0; chunk < kDim / 32; ++chunk) {
            uint4 eight = {0, 0, 0, 0};
            if (token < tile.tokens) eight = __ldcg(reinterpret_cast<const uint4*>(from + chunk * 32));
            q[2 * chunk][half] = eight.x, q[2 * chunk][2 + half] = eight.y;
            q[2 * chunk + 1][half] = eight.z, q[2 * chunk + 1][2 + half] = eight.w;
        }
    }

    // Rows of one tile may have spans of two lengths, where the length doubles between them: one pass for each.
    for (int span = span_keys(tile.position);; span = span_keys(last_position)) {
        int position[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int token = (g + 8 * half) / queries;
            position[half] = tile.position + token;
            if (token >= tile.tokens || span_keys(position[half]) != span) position[half] = -1;
        }
        const int group_keys = span * kWarps, first_group = first_key / group_keys;
        const int groups = last_position / group_keys - first_group + 1;
        const int begin = side_by_side ? static_cast<int>(blockIdx.z) : 0, end = side_by_side ? begin + 1 : groups;
        if (side_by_side && begin >= groups) return;

        Merged<kOutputs> result;
        for (int index = begin; index < end; ++index) {
            const int span_begin = (first_group + index) * group_keys + warp * span;
            float largest[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
            float out[kDim / 8][4] = {};
            for (int base = span_begin; base < span_begin + span; base += kTileKeys) {
                if (base > last_position) break;
                if (base + kTileKeys <= first_key) continue;
                // Lane l knows where key base + l lies.
                const int key = base + lane;
                int where = -1;
                if (key <= last_position && key >= first_key) {
                    const int page = __ldcg(pages + key / p.page_size);
                    where = (page * p.page_size + key % p.page_size) * p.kv_heads + head;
                }
                float score[4][4] = {};
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    const int row = __shfl_sync(~0u, where, j * 8 + g);
                    uint4 k[kDim / 32];
#pragma unroll
                    for (int chunk = 0; chunk < kDim / 32; ++chunk)
                        k[chunk] = row < 0
                                       ? uint4{0, 0, 0, 0}
                                       : load_eight<kCache>(p.k_pages, int64_t{1} * row * kDim + chunk * 32 + c * 8);
#pragma unroll
                    for (int chunk = 0; chunk < kDim / 32; ++chunk) {
                        ptx::mma_bf16(score[j], q[2 * chunk], k[chunk].x, k[chunk].y);
                        ptx::mma_bf16(score[j], q[2 * chunk + 1], k[chunk].z, k[chunk].w);
                    }
                }
                // Values are asked for while the weights are made.
                uint4 v[2][4][kDim / 64];
#pragma unroll
                for (int step = 0; step < 2; ++step)
#pragma unroll
                    for (int i = 0; i < 4; ++i) {
                        const int row = __shfl_sync(~0u, where, step * 16 + 2 * c + i % 2 + i / 2 * 8);
#pragma unroll
                        for (int half = 0; half < kDim / 64; ++half)
                            v[step][i][half] =
                                row < 0 ? uint4{0, 0, 0, 0}
                                        : load_eight<kCache>(p.v_pages, int64_t{1} * row * kDim + half * 64 + g * 8);
                    }
                float top[2] = {-INFINITY, -INFINITY};
#pragma unroll
                for (int j = 0; j < 4; ++j)
#pragma unroll
                    for (int i = 0; i < 4; ++i) {
                        const int its_key = base + j * 8 + 2 * c + i % 2, its_position = position[i / 2];
                        const bool seen =
                            its_key <= its_position && (p.window == 0 || its_key + p.window > its_position);
                        score[j][i] = seen ? score[j][i] * scale : -INFINITY;
                        top[i / 2] = fmaxf(top[i / 2], score[j][i]);
                    }
                float shift[2];
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    top[half] = fmaxf(top[half], __shfl_xor_sync(~0u, top[half], 1));
                    top[half] = fmaxf(top[half], __shfl_xor_sync(~0u, top[half], 2));
                    top[half] = fmaxf(top[half], largest[half]);
                    const float zero = top[half] == -INFINITY ? 0.0f : top[half];  // nothing seen yet: all weights 0
                    shift[half] = exp2f(largest[half] - zero);
                    largest[half] = top[half];
                    top[half] = zero;
                    total[half] *= shift[half];
                }
#pragma unroll
                for (int n = 0; n < kDim / 8; ++n)
#pragma unroll
                    for (int i = 0; i < 4; ++i) out[n][i] *= shift[i / 2];
                uint32_t high[2][4], low[2][4];
#pragma unroll
                for (int j = 0; j < 4; ++j)
#pragma unroll
                    for (int half = 0; half < 2; ++half) {
                        const float first = exp2f(score[j][2 * half] - top[half]),
                                    second = exp2f(score[j][2 * half + 1] - top[half]);
                        total[half] += first + second;
                        const uint32_t pair = cuda::pack_bf16(first, second);
                        high[j / 2][j % 2 * 2 + half] = pair;
                        low[j / 2][j % 2 * 2 + half] =
                            cuda::pack_bf16(first - cuda::low_bf16(pair), second - cuda::high_bf16(pair));
                    }
#pragma unroll
                for (int step = 0; step < 2; ++step)
#pragma unroll
                    for (int n = 0; n < kDim / 8; ++n) {
                        const auto word = [&](int i) {
                            const uint4& eight = v[step][i][n / 8];
                            return n % 8 < 2 ? eight.x : n % 8 < 4 ? eight.y : n % 8 < 6 ? eight.z : eight.w;
                        };
                        const uint32_t selector = n % 2 == 0 ? 0x5410 : 0x7632;
                        const uint32_t b0 = ptx::permute_bytes(word(0), word(1), selector),
                                       b1 = ptx::permute_bytes(word(2), word(3), selector);
                        ptx::mma_bf16(out[n], high[step], b0, b1);
                        ptx::mma_bf16(out[n], low[step], b0, b1);
                    }
            }
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                total[half] += __shfl_xor_sync(~0u, total[half], 1);
                total[half] += __shfl_xor_sync(~0u, total[half], 2);
                const int row = warp * kRows + g + 8 * half;
                if (c == 0) span_stats[row * 2] = largest[half], span_stats[row * 2 + 1] = total[half];
                if (largest[half] == -INFINITY) continue;
#pragma unroll
                for (int n = 0; n < kDim / 8; n += 4)
#pragma unroll
                    for (int i = 0; i < 2; ++i)
                        *reinterpret_cast<float4*>(span_sums + row * kStride + n / 8 * 64 + (2 * c + i) * 8 + n % 8) =
                            make_float4(out[n][2 * half + i], out[n + 1][2 * half + i], out[n + 2][2 * half + i],
                                        out[n + 3][2 * half + i]);
            }
            __syncthreads();
            Merged<kOutputs> group;
            for (int w = 0; w < kWarps; ++w) {
                const int row = w * kRows + my_row;
                group.add(span_stats[row * 2], span_stats[row * 2 + 1],
                          span_sums + row * kStride + threadIdx.x % 16 * kOutputs);
            }
            if (side_by_side)
                result = group;
            else
                result.add(group.largest, group.total, group.sum);
            __syncthreads();
        }

        if (side_by_side) {
            constexpr int kPartialRow = kDim + 2;
            float* mine =
                p.partial + (int64_t{1} * tile.first_row * gridDim.y + blockIdx.y) * p.max_splits * kRows * kPartialRow;
            float* at = mine + (int64_t{1} * begin * kRows + my_row) * kPartialRow;
#pragma unroll
            for (int i = 0; i < kOutputs; ++i) at[threadIdx.x % 16 * kOutputs + i] = result.sum[i];
            if (threadIdx.x % 16 == 0) at[kDim] = result.largest, at[kDim + 1] = result.total;
            __threadfence();
            __syncthreads();
            if (threadIdx.x == 0) {
                unsigned* arrivals = &mma_attention_arrivals[tile.first_row * gridDim.y + blockIdx.y];
                last = atomicAdd(arrivals, 1u) == static_cast<unsigned>(groups - 1);
                if (last) *arrivals = 0;
            }
            __syncthreads();
            if (!last) return;
            __threadfence();
            result = {};
            for (int index = 0; index < groups; ++index) {
                const float* from = mine + (int64_t{1} * index * kRows + my_row) * kPartialRow;
                float sum[kOutputs];
#pragma unroll
                for (int i = 0; i < kOutputs; ++i) sum[i] = __ldcg(from + threadIdx.x % 16 * kOutputs + i);
                result.add(__ldcg(from + kDim), __ldcg(from + kDim + 1), sum);
            }
        }
        if (my_position >= 0 && my_row < queries * tile.tokens && span_keys(my_position) == span) {
            __nv_bfloat16* to = p.out + (tile.first_row + my_token) * p.out_stride +
                                (first_query + my_row % queries) * kDim + threadIdx.x % 16 * kOutputs;
            const float factor = p.v_scale / result.total;
#pragma unroll
            for (int i = 0; i < kOutputs; ++i) to[i] = __float2bfloat16_rn(result.sum[i] * factor);
        }
        if (span == span_keys(last_position)) return;
    }
}

// Query heads of a tile; tokens of a tile when rows are many.
int queries_of(const AttentionArgs& a) {
    return static_cast<int>(std::min<int64_t>(a.query_heads / a.kv_heads, kMaxGroup));
}
int64_t partial_bytes(const AttentionArgs& a, int64_t groups) {
    return a.sequences.tokens * a.kv_heads * group_parts(a) * groups * kRows * (a.head_dim + 2) * 4;
}

// Groups run side by side when the rows alone would not fill the GPU and the scratch stays small.
int64_t parallel_groups(const AttentionArgs& a, const device::Device& device) {
    const int64_t keys = int64_t{kTileKeys} * kWarps, heads = a.kv_heads * group_parts(a);
    const int64_t groups = std::min<int64_t>((a.sequences.max_context + keys - 1) / keys, kMaxGroups);
    if (groups <= 1 || heads > 64 || a.sequences.tokens > kMaxRows ||
        a.sequences.tokens * heads >= 2 * device.multiprocessors)
        return 1;
    return partial_bytes(a, groups) <= kMaxScratchBytes ? groups : 1;
}

template <int kDim, Cache kCache>
void launch(OpContext& context, const AttentionParams& p, int tokens_a_tile, int64_t tiles) {
    constexpr size_t kShared = sizeof(float) * kWarps * kRows * (kDim + 4 + 2);
    static const bool allowed = [] {
        cuda::allow_shared(mma_attention_kernel<kDim, kCache>);
        return true;
    }();
    (void)allowed;
    cuda::launch(mma_attention_kernel<kDim, kCache>, "mma_attention", context.stream,
                 dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(p.kv_heads * p.group_parts),
                      static_cast<unsigned>(p.max_splits)),
                 kThreads, kShared, 1, p, tokens_a_tile);
}

template <int kDim>
void launch(OpContext& context, const AttentionParams& p, int tokens_a_tile, int64_t tiles) {
    switch (p.cache) {
        case Cache::bf16:
            return launch<kDim, Cache::bf16>(context, p, tokens_a_tile, tiles);
        case Cache::f32:
            return launch<kDim, Cache::f32>(context, p, tokens_a_tile, tiles);
        case Cache::f8:
            return launch<kDim, Cache::f8>(context, p, tokens_a_tile, tiles);
    }
}

}  // namespace

bool mma_attention_accepts(const AttentionArgs& a, const device::Device&) {
    return a.q.dtype() == DType::bf16 && (a.head_dim == 64 || a.head_dim == 128) && a.q.row_stride() % 8 == 0 &&
           a.k_pages.dim(0) * a.sequences.page_size * a.kv_heads <= INT32_MAX;
}

int64_t mma_attention_scratch_bytes(const AttentionArgs& a, const device::Device& device) {
    const int64_t groups = parallel_groups(a, device);
    return groups > 1 ? partial_bytes(a, groups) : 0;
}

void run_mma_attention(OpContext& context, const AttentionArgs& a) {
    AttentionParams p = attention_params(a);
    p.max_splits = static_cast<int>(parallel_groups(a, *context.device));
    if (p.max_splits > 1)
        p.partial = reinterpret_cast<float*>(context.arena->allocate_bytes(partial_bytes(a, p.max_splits)));
    append_to_cache(context, p);
    const int tokens_a_tile = p.max_splits > 1 || p.group_parts > 1 ? 1 : std::max(1, kRows / queries_of(a));
    const int64_t tiles = std::min<int64_t>(p.tokens / tokens_a_tile + p.sequences, p.tokens);
    if (a.head_dim == 64)
        launch<64>(context, p, tokens_a_tile, tiles);
    else
        launch<128>(context, p, tokens_a_tile, tiles);
}

}  // namespace nibble::ops
