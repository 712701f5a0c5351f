// Weight tiles (linear/cuda_layout.h) times many columns: the product of a prompt, and of a batch whose tokens are
// dealt to experts. Weights are read once for a block of columns; a warp owns whole rows and walks all of K.
//
//   items (Work: row block x column block of one matrix) dealt to a grid of resident CTAs in turn
//   one warp fills a ring: a stage = some chains' tiles of every row tile, and the columns' B fragments of the same k
//   each other warp: kRows row tiles x kBlocks * 8 columns, conversion once a tile for all its columns
//
// Sums have the order of the kernels for few tokens (GemmOrder), so that a token's result does not depend on how many
// others a step has: a chain is what one of their warps adds up; chains are added in order, ranks of a cluster in
// order. Bound: tensor cores (mma.sync) with full blocks; the conversion and HBM with few columns.
#pragma once

#include "ops/cuda/launch.h"
#include "ops/cuda/tile_stream.cuh"
#include "ops/linear/stream_plan.h"
#include "ops/op.h"

#include <algorithm>

namespace nibble::ops::tiles {

// How K is cut: rank r of `ranks` has tiles [r, r + 1) · K / ranks; these come in stages of stage_tiles, and of each
// stage chain c (of `chains`) has tiles [c, c + 1) · share.
struct GemmOrder {
    int ranks, stage_tiles, chains, share;
};

// Eight warps multiply, one fills the ring. A block of sixteen sums a lane and more needs 224 registers a thread: there
// the filling warp has a warpgroup of its own, which gives up most of its registers.
inline constexpr int kGemmWarps = 8;
constexpr bool gemm_is_wide(int rows, int blocks) {
    return rows * blocks >= 16;
}
constexpr int gemm_threads(int rows, int blocks) {
    return (kGemmWarps + (gemm_is_wide(rows, blocks) ? 4 : 1)) * 32;
}
// CTAs that share a multiprocessor: with eight columns the conversion needs all the warps there are.
constexpr int gemm_ctas(int blocks) {
    return blocks == 1 ? 2 : 1;
}

// Columns in the order of a block's copies: [block][k tile][column of the block][144 bytes]. A stage's are then one
// bulk copy (a small one costs as much as a large one), and 144 bytes lead to all banks. Few columns are copied one by
// one instead, from where they lie, [k tile][128 bytes].
inline constexpr int kPackedColumnBytes = kTokenTileBytes + 16;
__host__ __device__ constexpr int64_t packed_block_bytes(int64_t k_tiles, int columns) {
    return k_tiles * columns * kPackedColumnBytes;
}
constexpr bool gemm_is_packed(int blocks) {
    return blocks > 1;
}

// How a CTA takes them: a ring stage holds `group` chains whole, or of one chain `span` of its stages and `piece` tiles
// of its share; that is `slots` tiles a row.
struct GemmPlan {
    GemmOrder order;
    int stages;  // of stage_tiles, of a rank at most
    int group, span, piece, slots, depth;
    uint32_t sixteen;  // 16 (tile_stream.cuh)

    // Bytes from a column, and from a slot, to the next.
    __host__ __device__ constexpr int column_stride(int blocks) const {
        return gemm_is_packed(blocks) ? kPackedColumnBytes : slots * kTokenTileBytes + 16;
    }
    __host__ __device__ static constexpr int slot_stride(int blocks) {
        return gemm_is_packed(blocks) ? blocks * 8 * kPackedColumnBytes : kTokenTileBytes;
    }
    __host__ __device__ constexpr int stage_bytes(int tile_bytes, int rows, int blocks) const {
        return rows * slots * tile_bytes + blocks * 8 * (slots * kPackedColumnBytes + 16);
    }
};

// What a ring stage holds of rank tiles [0, local): of stages [s0, s0 + span) the tiles [from, to).
struct GemmPiece {
    int chain = 0, s0 = 0, t0 = 0;

    // The next one; false after the last. All warps walk the same pieces.
    __device__ __forceinline__ bool next(const GemmPlan& plan, int local) {
        t0 += plan.piece;
        if (t0 < plan.order.share) return true;
        t0 = 0;
        s0 += plan.span;
        if (s0 < plan.stages) return true;
        s0 = 0;
        chain += plan.group;
        return chain < plan.order.chains && chain * plan.order.share < min(plan.order.stage_tiles, local);
    }
    __device__ __forceinline__ int from(const GemmPlan& plan, int c) const {
        return (chain + c) * plan.order.share + t0;
    }
    // Tiles of chains [chain + c, chain + c + count) in stage s.
    __device__ __forceinline__ int tiles(const GemmPlan& plan, int c, int count, int s, int local) const {
        const GemmOrder& o = plan.order;
        const int last = min(chain + c + count, o.chains) - 1;
        const int to = min(min(last * o.share + t0 + plan.piece, (last + 1) * o.share), o.stage_tiles);
        return min(to, local - s * o.stage_tiles) - from(plan, c);
    }
    __device__ __forceinline__ bool opens() const { return s0 == 0 && t0 == 0; }
    __device__ __forceinline__ bool closes(const GemmPlan& plan) const {
        return s0 + plan.span >= plan.stages && t0 + plan.piece >= plan.order.share;
    }
};

// One block of the product. Row tile i's tiles start at weights + i * row_bytes.
struct GemmItem {
    const std::byte* weights;
    int64_t row_bytes;
    int k_tiles;
    int first_row, rows;        // row tiles
    int first_column, columns;  // of the matrix's list of columns
    int matrix;
};

// Work: __device__ prepare(table, thread, threads) after the dependency wait; items(); item(i); fragments(item, column)
// where the column's k tiles start, or packed(item, columns) where its block's do; Output output(item, column) with
// store(first row of 16 + r, sum).
template <class Tile, int kRows, int kBlocks, class Work>
__global__ void __launch_bounds__(gemm_threads(kRows, kBlocks), gemm_ctas(kBlocks))
    tile_gemm_kernel(const __grid_constant__ GemmPlan plan, const __grid_constant__ Work work_parameters) {
    constexpr int kColumns = kBlocks * 8, kRowTiles = kGemmWarps * kRows;
    constexpr bool kWide = gemm_is_wide(kRows, kBlocks);
    extern __shared__ __align__(128) std::byte shared[];
    __shared__ uint64_t full[kStreamMaxDepth], empty[kStreamMaxDepth];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const GemmOrder& order = plan.order;
    const int stage_bytes = plan.stage_bytes(Tile::kBytes, kRowTiles, kBlocks);
    const int columns_offset = kRowTiles * plan.slots * Tile::kBytes, column_stride = plan.column_stride(kBlocks);
    constexpr int kSlotStride = GemmPlan::slot_stride(kBlocks);
    constexpr bool kPacked = gemm_is_packed(kBlocks);
    std::byte* tail = shared + plan.depth * stage_bytes;
    float* ranks_sum = reinterpret_cast<float*>(tail);  // [value][consumer thread], with several ranks
    int* table = reinterpret_cast<int*>(tail + (order.ranks > 1 ? kGemmWarps * 32 * kRows * kBlocks * 16 : 0));
    if (threadIdx.x == 0) {
        for (int i = 0; i < plan.depth; ++i) {
            ptx::mbarrier_init(&full[i], 1);
            ptx::mbarrier_init(&empty[i], kGemmWarps);
        }
        ptx::mbarrier_init_fence();
    }
    ptx::await_previous_kernel();
    Work work = work_parameters;
    work.prepare(table, static_cast<int>(threadIdx.x), static_cast<int>(blockDim.x));
    __syncthreads();
    const int items = work.items();
    int stage = 0;
    uint32_t phase = 0;
    const auto advance = [&] {
        if (++stage == plan.depth) stage = 0, phase ^= 1u;
    };

    if (warp >= kGemmWarps) {
        if constexpr (kWide) ptx::give_registers<40>();
        if (warp > kGemmWarps) return;
        const uint64_t policy = ptx::evict_first_policy(), keep = ptx::evict_last_policy();
        ptx::fence_proxy_async();  // fragments were written by ordinary stores
        for (int i = blockIdx.x; i < items; i += gridDim.x) {
            const GemmItem item = work.item(i, kRowTiles, kColumns);
            const std::byte* columns = nullptr;  // of the block, or of lane's column
            if constexpr (kPacked)
                columns = work.packed(item, kColumns);
            else if (lane < item.columns)
                columns = work.fragments(item, lane);
            for (int rank = 0; rank < order.ranks; ++rank) {
                const int begin = rank * item.k_tiles / order.ranks;
                const int local = (rank + 1) * item.k_tiles / order.ranks - begin;
                GemmPiece piece;
                do {
                    ptx::mbarrier_wait(&empty[stage], phase ^ 1u);
                    const int end = min(piece.s0 + plan.span, plan.stages);
                    if (lane == 0) {
                        int tiles = 0;
                        for (int s = piece.s0; s < end; ++s)
                            tiles += max(0, piece.tiles(plan, 0, plan.group, s, local));
                        const int column_bytes = kPacked ? kSlotStride : item.columns * kTokenTileBytes;
                        ptx::mbarrier_arrive_expect(
                            &full[stage], static_cast<uint32_t>(tiles * (item.rows * Tile::kBytes + column_bytes)));
                    }
                    __syncwarp();
                    std::byte* base = shared + stage * stage_bytes;
                    for (int s = piece.s0; s < end; ++s) {
                        const int count = piece.tiles(plan, 0, plan.group, s, local);
                        if (count <= 0) break;
                        const int64_t tile = begin + s * order.stage_tiles + piece.from(plan, 0);
                        const int slot = (s - piece.s0) * plan.group * plan.piece;
                        if (lane < item.rows)
                            ptx::bulk_load(base + (lane * plan.slots + slot) * Tile::kBytes,
                                           item.weights + lane * item.row_bytes + tile * Tile::kBytes,
                                           static_cast<uint32_t>(count * Tile::kBytes), &full[stage], policy);
                        if constexpr (kPacked) {
                            if (lane == 31)
                                ptx::bulk_load(base + columns_offset + slot * kSlotStride, columns + tile * kSlotStride,
                                               static_cast<uint32_t>(count * kSlotStride), &full[stage], keep);
                        } else if (columns != nullptr) {
                            ptx::bulk_load(base + columns_offset + lane * column_stride + slot * kTokenTileBytes,
                                           columns + tile * kTokenTileBytes,
                                           static_cast<uint32_t>(count * kTokenTileBytes), &full[stage], keep);
                        }
                    }
                    advance();
                } while (piece.next(plan, local));
            }
        }
        return;
    }

    if constexpr (kWide) ptx::take_registers<224>();
    const int g = lane >> 2, q = lane & 3;
    for (int i = blockIdx.x; i < items; i += gridDim.x) {
        const GemmItem item = work.item(i, kRowTiles, kColumns);
        const bool mine = warp * kRows < item.rows;
        float total[kRows][kBlocks][4] = {};
        for (int rank = 0; rank < order.ranks; ++rank) {
            const int begin = rank * item.k_tiles / order.ranks;
            const int local = (rank + 1) * item.k_tiles / order.ranks - begin;
            GemmPiece piece;
            float acc[kRows][kBlocks][4];
            do {
                ptx::mbarrier_wait(&full[stage], phase);
                const std::byte* rows = shared + stage * stage_bytes + warp * kRows * plan.slots * Tile::kBytes;
                const std::byte* columns = shared + stage * stage_bytes + columns_offset + g * column_stride + q * 32;
                for (int c = 0; mine && c < plan.group; ++c) {
                    if (piece.opens())
#pragma unroll
                        for (int r = 0; r < kRows; ++r)
#pragma unroll
                            for (int b = 0; b < kBlocks; ++b)
#pragma unroll
                                for (int v = 0; v < 4; ++v) acc[r][b][v] = 0;
                    for (int s = piece.s0; s < min(piece.s0 + plan.span, plan.stages); ++s) {
                        const int count = piece.tiles(plan, c, 1, s, local);
                        const int slot = ((s - piece.s0) * plan.group + c) * plan.piece;
                        for (int t = 0; t < count; ++t) {
                            Tile tile[kRows];
#pragma unroll
                            for (int r = 0; r < kRows; ++r)
                                tile[r].load(rows + (r * plan.slots + slot + t) * Tile::kBytes, lane, plan.sixteen);
                            multiply_columns<Tile, kRows, kBlocks>(tile, columns + (slot + t) * kSlotStride,
                                                                   8 * column_stride, acc);
                        }
                    }
                    if (piece.closes(plan))
#pragma unroll
                        for (int r = 0; r < kRows; ++r)
#pragma unroll
                            for (int b = 0; b < kBlocks; ++b)
#pragma unroll
                                for (int v = 0; v < 4; ++v) total[r][b][v] += acc[r][b][v];
                }
                __syncwarp();
                if (lane == 0) ptx::mbarrier_arrive(&empty[stage]);
                advance();
            } while (piece.next(plan, local));
            if (order.ranks > 1 && mine) {
                // Each rank starts from zero; what the ranks before it gave waits in shared memory.
#pragma unroll
                for (int r = 0; r < kRows; ++r)
#pragma unroll
                    for (int b = 0; b < kBlocks; ++b)
#pragma unroll
                        for (int v = 0; v < 4; ++v) {
                            float& before = ranks_sum[((r * kBlocks + b) * 4 + v) * kGemmWarps * 32 + threadIdx.x];
                            const float sum = rank == 0 ? total[r][b][v] : before + total[r][b][v];
                            before = sum;
                            total[r][b][v] = rank == order.ranks - 1 ? sum : 0.0f;
                        }
            }
        }
#pragma unroll
        for (int b = 0; b < kBlocks; ++b)
#pragma unroll
            for (int j = 0; j < 2; ++j) {
                const int column = b * 8 + 2 * q + j;
                if (!mine || column >= item.columns) continue;
                const auto output = work.output(item, column);
#pragma unroll
                for (int r = 0; r < kRows; ++r) {
                    if (warp * kRows + r >= item.rows) continue;
                    const int n = (item.first_row + warp * kRows + r) * 16 + g;
                    output.store(n, total[r][b][j]);
                    output.store(n + 8, total[r][b][2 + j]);
                }
            }
    }
}

// Shared memory and depth for a row of slots, then the launch. `table_ints` of shared memory for the work's table.
template <class Tile, int kRows, int kBlocks, class Work>
void launch_gemm(OpContext& context, const char* name, const GemmOrder& order, int max_k_tiles, int table_ints,
                 const Work& work) {
    constexpr int kColumns = kBlocks * 8, kRowTiles = kGemmWarps * kRows;
    GemmPlan plan{};
    plan.order = order;
    plan.sixteen = 16;
    const int local = (max_k_tiles + order.ranks - 1) / order.ranks;
    plan.stages = (local + order.stage_tiles - 1) / order.stage_tiles;
    const int fixed = (order.ranks > 1 ? kGemmWarps * 32 * kRows * kBlocks * 16 : 0) + table_ints * 4;
    const int budget = static_cast<int>(cuda::shared_budget(*context.device, gemm_ctas(kBlocks))) - fixed;
    // A quarter of the budget a stage: some chains, or as much of one as that is.
    const int tiles = std::max(1, budget / 4 / (kRowTiles * Tile::kBytes + kColumns * kPackedColumnBytes));
    plan.group = std::clamp(tiles / (plan.stages * order.share), 1, order.chains);
    plan.span = std::clamp(tiles / (plan.group * order.share), 1, plan.stages);
    const int pieces = (order.share + tiles - 1) / tiles;
    plan.piece = (order.share + pieces - 1) / pieces;
    plan.slots = plan.group * plan.span * plan.piece;
    const int stage_bytes = plan.stage_bytes(Tile::kBytes, kRowTiles, kBlocks);
    plan.depth = std::clamp(budget / stage_bytes, 1, kStreamMaxDepth);
    static const bool allowed = (cuda::allow_shared(tile_gemm_kernel<Tile, kRows, kBlocks, Work>), true);
    (void)allowed;
    cuda::launch(tile_gemm_kernel<Tile, kRows, kBlocks, Work>, name, context.stream,
                 dim3(static_cast<unsigned>(context.device->multiprocessors * gemm_ctas(kBlocks))),
                 gemm_threads(kRows, kBlocks), static_cast<size_t>(plan.depth) * stage_bytes + fixed, 1, plan, work);
}

}  // namespace nibble::ops::tiles
