// linear for more tokens than one pass of stream_linear.cu serves: tokens to fragments, then a tile product
// (cuda/tile_gemm.cuh) whose sums have the order of the streaming kernel's.
#include "ops/cuda/tile_gemm.cuh"
#include "ops/linear/cuda_rows.h"
#include "ops/linear/stream_linear.cuh"

namespace nibble::ops {
namespace {

using namespace tiles;

template <class Tile>
struct LinearWork {
    StreamLinearParams p;
    int row_blocks, column_blocks;

    __device__ __forceinline__ void prepare(int*, int, int) {}
    __device__ __forceinline__ int items() const { return row_blocks * column_blocks; }
    __device__ __forceinline__ GemmItem item(int i, int rows, int columns) const {
        GemmItem item{};
        item.first_row = i / column_blocks * rows;
        item.rows = min(rows, p.plan.row_tiles - item.first_row);
        item.first_column = i % column_blocks * columns;
        item.columns = min(columns, p.tokens.tokens - item.first_column);
        item.k_tiles = p.plan.k_tiles;
        item.row_bytes = int64_t{1} * item.k_tiles * Tile::kBytes;
        item.weights = p.weights + item.first_row * item.row_bytes;
        return item;
    }
    __device__ __forceinline__ const std::byte* packed(const GemmItem& item, int columns) const {
        return p.fragments + item.first_column / columns * packed_block_bytes(item.k_tiles, columns);
    }
    struct Output {
        const StreamLinearParams& p;
        int token;
        float factor;
        __device__ __forceinline__ void store(int n, float sum) const {
            if (n >= p.n) return;
            const float value = linear_value(p, n, sum, Tile::kUnscale, factor);
            unsigned short residual = 0;
            if (p.residual)
                residual = __ldcg(reinterpret_cast<const unsigned short*>(p.residual + token * p.residual_stride + n));
            store_linear(p, token, n, value, residual);
        }
    };
    __device__ __forceinline__ Output output(const GemmItem& item, int c) const {
        const int token = item.first_column + c;
        return {p, token, p.tokens.norm_weight != nullptr ? __ldcg(p.factors + token) : 1.0f};
    }
};

constexpr int kBlocks = kGemmLinearColumns / 8;

template <class Tile>
void launch_format(OpContext& context, const StreamLinearParams& p) {
    constexpr int kRows = Tile::kBytes == layout::kBf16TileBytes ? 1 : 2;
    const auto blocks = [](int count, int of) { return (count + of - 1) / of; };
    const LinearWork<Tile> work{.p = p,
                                .row_blocks = blocks(p.plan.row_tiles, kGemmWarps * kRows),
                                .column_blocks = blocks(p.tokens.tokens, kBlocks * 8)};
    launch_gemm<Tile, kRows, kBlocks>(
        context, "gemm_linear",
        {.ranks = p.plan.cluster, .stage_tiles = p.plan.stage_tiles, .chains = p.plan.warps, .share = p.plan.share},
        p.plan.k_tiles, 0, work);
}

}  // namespace

void launch_gemm_linear(OpContext& context, WeightFormat format, const StreamLinearParams& p) {
    switch (format) {
        case WeightFormat::nvfp4:
            return launch_format<Nvfp4Tile>(context, p);
        case WeightFormat::fp8:
            return launch_format<Fp8Tile>(context, p);
        case WeightFormat::bf16:
            return launch_format<Bf16Tile>(context, p);
        case WeightFormat::f32:
            break;
    }
    CHECK(false, "gemm_linear: {}", name(format));
}

}  // namespace nibble::ops
