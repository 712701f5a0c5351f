// The CUDA row of linear for few tokens: stream_linear.cuh has the picture, tile_stream.cuh the building blocks.
#include "ops/cuda/launch.h"
#include "ops/cuda/tile_gemm.cuh"
#include "ops/cuda/tile_stream.cuh"
#include "ops/linear/cuda_rows.h"
#include "ops/linear/stream_linear.cuh"

namespace nibble::ops {
namespace {

using namespace tiles;

// Tokens to B fragments in global memory, [k tile][token][128 bytes] or, with `columns`, packed in blocks of so many,
// then each token's 1 / rms: one CTA a token.
__global__ void __launch_bounds__(512)
    token_fragments_kernel(const __grid_constant__ TokenSource source, std::byte* out, float* factors, int columns) {
    extern __shared__ float squares[];
    const int t = blockIdx.x, tokens = source.tokens;
    TokenChunk chunk;
    chunk.prefetch(source);
    ptx::await_previous_kernel();
    const int k_tiles = (source.k + layout::kTileInputs - 1) / layout::kTileInputs;
    load_token(source, chunk, t, 0, k_tiles, squares, [&](int k, uint4 eight) {
        const int tile = k / layout::kTileInputs;
        if (columns > 0)
            store_token_inputs(out + t / columns * packed_block_bytes(k_tiles, columns) +
                                   (int64_t{1} * tile * columns + t % columns) * kPackedColumnBytes,
                               1, 0, k % layout::kTileInputs, eight);
        else
            store_token_inputs(out, tokens, t, k, eight);
    });
    if (source.norm_weight == nullptr) return;
    __syncthreads();
    if (threadIdx.x < 32) {
        const float factor = inverse_rms(source, squares, threadIdx.x);
        if (threadIdx.x == 0) factors[t] = factor;
    }
}

template <class Tile, int kBlocks, int kStored>
__global__ void __launch_bounds__((kStreamMaxWarps + 1) * 32, kBlocks == 1 ? 2 : 1)
    stream_linear_kernel(const __grid_constant__ StreamLinearParams p) {
    extern __shared__ __align__(128) std::byte shared[];
    const StreamPlan& plan = p.plan;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = plan.warps, cluster = plan.cluster;
    const int rank = cluster > 1 ? static_cast<int>(ptx::cluster_rank()) : 0;
    const int group = blockIdx.x / cluster;
    const int row_begin = group * plan.row_tiles / plan.groups, row_end = (group + 1) * plan.row_tiles / plan.groups;
    const int k_begin = rank * plan.k_tiles / cluster, k_end = (rank + 1) * plan.k_tiles / cluster;
    const int local_tiles = k_end - k_begin;
    const int stage_tiles = plan.stage_tiles;

    std::byte* zeros = shared + plan.ring_bytes(Tile::kBytes);
    std::byte* tokens_shared = zeros + kTokenTileBytes;
    float* sums = reinterpret_cast<float*>(tokens_shared + plan.max_k_tiles() * p.tokens.tokens * kTokenTileBytes);
    float* remote = sums + plan.sum_rows * warps * 16 * kStored;
    float* squares = remote + 2 * (cluster - 1) * plan.sum_rows * 16 * kStored;
    __shared__ uint64_t barriers[2 * kStreamMaxDepth + 1];
    __shared__ float factor_shared;
    uint64_t* tokens_full = barriers + 2 * kStreamMaxDepth;

    Ring ring{shared, barriers, barriers + kStreamMaxDepth, stage_tiles * Tile::kBytes, plan.depth};
    // The filling thread walks (row tile, stage of its k tiles) in order.
    const int64_t row_bytes = int64_t{1} * plan.k_tiles * Tile::kBytes;
    const std::byte* source = p.weights + row_begin * row_bytes + int64_t{1} * k_begin * Tile::kBytes;
    const uint64_t policy = ptx::evict_first_policy();
    int fill_row = row_begin, fill_tile = 0, filled = 0, may_fill = plan.depth;
    const int stages_a_row = (local_tiles + stage_tiles - 1) / stage_tiles;
    const auto fill = [&] {
        const int count = min(stage_tiles, local_tiles - fill_tile);
        ring.fill(source + int64_t{1} * fill_tile * Tile::kBytes, count * Tile::kBytes, policy);
        fill_tile += count;
        if (fill_tile == local_tiles) {
            fill_tile = 0;
            source += row_bytes;
            ++fill_row;
        }
    };
    if (threadIdx.x == warps * 32) {
        ptx::mbarrier_init(tokens_full, 1);
        ring.init(warps);
        for (; filled < plan.depth && fill_row < row_end; ++filled) fill();
    }
    if (threadIdx.x < kTokenTileBytes / 16) reinterpret_cast<uint4*>(zeros)[threadIdx.x] = make_uint4(0, 0, 0, 0);

    TokenChunk chunk;
    if constexpr (kStored == 1) chunk.prefetch(p.tokens);
    if (cluster > 1) ptx::cluster_arrive();  // waited for before another CTA's shared memory is written

    ptx::await_previous_kernel();
    // With one token a thread has at most one output; its residual is asked for now.
    unsigned short residual_bits = 0;
    if constexpr (kStored == 1) {
        const int n = row_begin * 16 + threadIdx.x;
        if (p.residual && rank == 0 && threadIdx.x < plan.sum_rows * 16 && n < min(p.n, row_end * 16))
            residual_bits = __ldcg(reinterpret_cast<const unsigned short*>(p.residual + n));
        load_token(p.tokens, chunk, 0, k_begin, local_tiles, squares,
                   [&](int k, uint4 eight) { store_token_inputs(tokens_shared, 1, 0, k, eight); });
        __syncthreads();
    } else {
        if (threadIdx.x == warps * 32) {
            const uint32_t bytes = static_cast<uint32_t>(local_tiles * p.tokens.tokens * kTokenTileBytes);
            ptx::fence_proxy_async();  // the fragments were written by ordinary stores
            ptx::mbarrier_arrive_expect(tokens_full, bytes);
            ptx::bulk_load(tokens_shared, p.fragments + int64_t{1} * k_begin * p.tokens.tokens * kTokenTileBytes, bytes,
                           tokens_full, ptx::evict_last_policy());
        }
        __syncthreads();
        ptx::mbarrier_wait(tokens_full, 0);
    }
    if (cluster > 1) ptx::cluster_wait();
    const bool normed = p.tokens.norm_weight != nullptr;

    TokenColumns<kBlocks> columns;
    columns.opaque_sixteen = p.sixteen;
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) {
        const int column = block * 8 + (lane >> 2);
        columns.point(block, tokens_shared, zeros, column < p.tokens.tokens ? column : -1, p.tokens.tokens, lane);
    }

    int round = 0;
    for (int first_row = row_begin; first_row < row_end; first_row += plan.sum_rows, ++round) {
        const int rows_now = min(plan.sum_rows, row_end - first_row);
        if (warp == warps) {
            // The ring's depth beyond these rows and no more: those stages are empty once these rows are done, so the
            // barrier below is always reached.
            may_fill += rows_now * stages_a_row;
            if (kStored == 1 && normed && round == 0) {
                const float factor = inverse_rms(p.tokens, squares, lane);
                if (lane == 0) factor_shared = factor;
            }
            if (lane == 0)
                for (; fill_row < row_end && filled < may_fill; ++filled) fill();
            __syncwarp();
        } else {
            for (int row = 0; row < rows_now; ++row) {
                float acc[kBlocks][4] = {};
                for (int tile = 0; tile < local_tiles; tile += stage_tiles) {
                    const std::byte* stage = ring.await();
                    const int count = min(stage_tiles, local_tiles - tile);
                    for (int i = warp * plan.share; i < min((warp + 1) * plan.share, count); ++i)
                        multiply_tile<Tile, kBlocks>(stage + i * Tile::kBytes, tile + i, columns, lane, acc);
                    ring.release(lane);
                }
                store_sums<kBlocks, kStored>(sums + (row * warps + warp) * 16 * kStored, acc, lane);
            }
        }
        __syncthreads();
        // Warps in order, then ranks in order.
        const int outputs = rows_now * 16 * kStored;
        float* remote_now = remote + (round & 1) * (cluster - 1) * plan.sum_rows * 16 * kStored;
        if (rank != 0) {
            for (int i = threadIdx.x; i < outputs; i += blockDim.x) {
                const float* at = sums + (i / (16 * kStored)) * warps * 16 * kStored + i % (16 * kStored);
                float sum = 0;
                for (int w = 0; w < warps; ++w) sum += at[w * 16 * kStored];
                ptx::store_remote(ptx::map_to_rank(remote_now + (rank - 1) * plan.sum_rows * 16 * kStored + i, 0), sum);
            }
        }
        if (cluster > 1) {
            ptx::cluster_arrive();
            ptx::cluster_wait();
        }
        if (rank == 0) {
            for (int i = threadIdx.x; i < outputs; i += blockDim.x) {
                const float* at = sums + (i / (16 * kStored)) * warps * 16 * kStored + i % (16 * kStored);
                const int n = first_row * 16 + i / kStored, token = i % kStored;
                if (n >= p.n || token >= p.tokens.tokens) continue;
                float sum = 0;
                for (int w = 0; w < warps; ++w) sum += at[w * 16 * kStored];
                for (int r = 1; r < cluster; ++r) sum += remote_now[(r - 1) * plan.sum_rows * 16 * kStored + i];
                const float factor = !normed ? 1.0f : kStored == 1 ? factor_shared : __ldcg(p.factors + token);
                if (p.residual && (kStored != 1 || round > 0 || i != threadIdx.x))
                    residual_bits =
                        __ldcg(reinterpret_cast<const unsigned short*>(p.residual + token * p.residual_stride + n));
                store_linear(p, token, n, linear_value(p, n, sum, Tile::kUnscale, factor), residual_bits);
            }
        }
        if (first_row + plan.sum_rows < row_end) __syncthreads();
    }
}

int64_t fragment_bytes(int64_t k_tiles, int tokens) {
    if (tokens <= kStreamMaxTokens) return k_tiles * tokens * kTokenTileBytes;
    return (tokens + kGemmLinearColumns - 1) / kGemmLinearColumns * packed_block_bytes(k_tiles, kGemmLinearColumns);
}

template <class Tile, int kBlocks, int kStored>
void launch_blocks(OpContext& context, const StreamLinearParams& p) {
    const StreamPlan& plan = p.plan;
    const int tokens = p.tokens.tokens;
    const int squares = kStored == 1 && p.tokens.norm_weight != nullptr ? p.k / 8 : 0;
    const size_t shared_bytes =
        static_cast<size_t>(plan.ring_bytes(Tile::kBytes)) + kTokenTileBytes +
        static_cast<size_t>(plan.max_k_tiles()) * tokens * kTokenTileBytes +
        sizeof(float) * (plan.sum_rows * 16 * kStored * (plan.warps + 2 * (plan.cluster - 1)) + squares);
    static const bool allowed = (cuda::allow_shared(stream_linear_kernel<Tile, kBlocks, kStored>), true);
    (void)allowed;
    cuda::launch(stream_linear_kernel<Tile, kBlocks, kStored>, "stream_linear", context.stream,
                 dim3(plan.groups * plan.cluster), plan.threads(), shared_bytes, plan.cluster, p);
}

template <class Tile>
void launch_format(OpContext& context, const LinearArgs& args) {
    StreamLinearParams p{};
    p.weights = args.weight.data;
    p.sixteen = 16;
    p.row_scale = args.weight.row_scale.as<float>();
    p.bias = args.bias.as<float>();
    p.y_is_float = args.y.dtype() == DType::f32;
    p.scale = args.weight.scale;
    p.n = static_cast<int>(args.weight.n);
    p.k = static_cast<int>(args.weight.k);
    p.residual_stride = args.residual.empty() ? 0 : args.residual.row_stride();
    p.y_stride = args.y.row_stride();
    p.plan = plan_stream(p.n, p.k, Tile::kBytes, context.device->multiprocessors, 0);
    const int64_t token_bytes = int64_t{1} * p.plan.max_k_tiles() * kTokenTileBytes;
    const bool many = args.x.dim(0) > kStreamMaxTokens;
    // Half of what a CTA may have, for two such kernels share a multiprocessor: the next one's weights arrive while
    // this one computes.
    const int64_t half = cuda::shared_budget(*context.device, 2) - 18 * 1024;
    const int64_t pass = many ? kGemmMaxTokens : std::clamp<int64_t>(half / token_bytes, 1, kStreamMaxTokens);
    for (int64_t first = 0; first < args.x.dim(0); first += pass) {
        const int tokens = static_cast<int>(std::min(pass, args.x.dim(0) - first));
        p.tokens = {.x = args.x.row_as<__nv_bfloat16>(first),
                    .stride = args.x.row_stride(),
                    .norm_weight = args.norm_weight.as<__nv_bfloat16>(),
                    .norm_eps = args.norm_eps,
                    .tokens = tokens,
                    .k = p.k};
        p.residual = args.residual.empty() ? nullptr : args.residual.row_as<__nv_bfloat16>(first);
        p.y = args.y.row(first);
        p.plan = plan_stream(p.n, p.k, Tile::kBytes, context.device->multiprocessors,
                             std::max(half / 2, half - tokens * token_bytes));
        if (tokens > 1) p.plan.sum_rows = std::min(p.plan.sum_rows, tokens <= 8 ? 3 : 2);
        if (tokens == 1) {
            launch_blocks<Tile, 1, 1>(context, p);
            continue;
        }
        device::ArenaScope scope(*context.arena);
        const bool gemm = tokens > kStreamMaxTokens;
        std::byte* fragments = context.arena->allocate_bytes(fragment_bytes(p.plan.k_tiles, tokens));
        float* factors = reinterpret_cast<float*>(context.arena->allocate_bytes(int64_t{1} * tokens * sizeof(float)));
        cuda::launch(token_fragments_kernel, "token_fragments", context.stream, dim3(tokens), 512,
                     sizeof(float) * (p.k / 8), 1, p.tokens, fragments, factors, gemm ? kGemmLinearColumns : 0);
        p.fragments = fragments;
        p.factors = factors;
        if (gemm)
            launch_gemm_linear(context, args.weight.format, p);
        else if (tokens <= 8)
            launch_blocks<Tile, 1, 8>(context, p);
        else
            launch_blocks<Tile, 2, 16>(context, p);
    }
}

}  // namespace

bool stream_linear_accepts(const LinearArgs& a, const device::Device&) {
    return a.weight.layout == WeightLayout::cuda_tiles && a.x.dtype() == DType::bf16 && a.weight.k % 8 == 0 &&
           a.x.row_stride() % 8 == 0 && (a.residual.empty() || a.residual.dtype() == DType::bf16);
}

int64_t stream_linear_scratch_bytes(const LinearArgs& a, const device::Device&) {
    const int64_t tokens = std::min<int64_t>(a.x.dim(0), kGemmMaxTokens);
    return tokens <= 1 ? 0 : fragment_bytes((a.weight.k + 63) / 64, static_cast<int>(tokens)) + tokens * 4 + 512;
}

void run_stream_linear(OpContext& context, const LinearArgs& args) {
    switch (args.weight.format) {
        case WeightFormat::nvfp4:
            return launch_format<Nvfp4Tile>(context, args);
        case WeightFormat::fp8:
            return launch_format<Fp8Tile>(context, args);
        case WeightFormat::bf16:
            return launch_format<Bf16Tile>(context, args);
        case WeightFormat::f32:
            break;
    }
    CHECK(false, "stream_linear: {}", name(args.weight.format));
}

}  // namespace nibble::ops
