// The routed MoE of two tokens or more: the products of stream_moe.cu with an expert's tokens as columns of one tile
// product (cuda/tile_gemm.cuh), so that an expert's weights are read once for a block of tokens.
//   up      every expert's list, and the shared expert with all tokens -> hidden, as B fragments
//   down    the same -> each (token, segment)'s weighted part of the output, float32
//   combine a token's segments in ascending order, one rounding, the residual
#include "ops/cuda/elements.cuh"
#include "ops/cuda/tile_gemm.cuh"
#include "ops/moe/cuda_moe.cuh"

#include <utility>

namespace nibble::ops {
namespace {

using namespace tiles;

// Blocks of the experts' and the shared expert's matrices, by the lists that the router made.
struct MoeWork {
    MoeTensors m;
    MoeLists lists;
    const int* begin;  // lists.up_begin or down_begin: [matrices + 1]
    int matrices;      // experts, then segments of the shared expert
    int row_blocks;    // of an expert
    int* table;        // shared memory: begin, then list_begin

    __device__ __forceinline__ void prepare(int* shared_table, int thread, int threads) {
        table = shared_table;
        for (int i = thread; i <= matrices; i += threads) table[i] = __ldcg(begin + i);
        for (int i = thread; i <= m.experts; i += threads) table[matrices + 1 + i] = __ldcg(lists.list_begin + i);
    }
    __device__ __forceinline__ int items() const { return table[matrices]; }
    __device__ __forceinline__ int matrix_of(int item) const {
        int low = 0, high = matrices;
        while (high - low > 1) {
            const int middle = (low + high) / 2;
            if (table[middle] <= item)
                low = middle;
            else
                high = middle;
        }
        return low;
    }
    __device__ __forceinline__ int list_begin(int expert) const { return table[matrices + 1 + expert]; }
    // first_row, rows, first_column, columns of the item in its matrix.
    __device__ __forceinline__ GemmItem block(int i, int matrix, int row_tiles, int rows, int columns) const {
        const int count = matrix < m.experts ? list_begin(matrix + 1) - list_begin(matrix) : m.tokens;
        const int blocks = (count + columns - 1) / columns, at = i - table[matrix];
        GemmItem item{};
        item.matrix = matrix;
        item.first_row = at / blocks * rows;
        item.rows = min(rows, row_tiles - item.first_row);
        item.first_column = at % blocks * columns;
        item.columns = min(columns, count - item.first_column);
        return item;
    }
    // The item's block of columns, among all experts' or among the tokens'.
    __device__ __forceinline__ int packed_block(const GemmItem& item, int columns) const {
        const int at = item.first_column / columns;
        return item.matrix < m.experts ? table[item.matrix] / row_blocks + at : at;
    }
    // token * top_k + slot of an expert's column; a token of the shared expert's.
    __device__ __forceinline__ int column(const GemmItem& item, int c) const {
        return item.matrix < m.experts ? __ldcg(lists.list + list_begin(item.matrix) + item.first_column + c)
                                       : item.first_column + c;
    }
};

template <class Tile, int kBlocks>
struct UpWork : MoeWork {
    static constexpr int kColumns = kBlocks * 8;
    static constexpr bool kPacked = gemm_is_packed(kBlocks);
    int k_tiles;
    const std::byte *inputs, *shared_inputs;
    std::byte *packed_hidden, *packed_shared_hidden;

    __device__ __forceinline__ const std::byte* packed(const GemmItem& item, int columns) const {
        return (item.matrix < m.experts ? inputs : shared_inputs) +
               packed_block(item, columns) * packed_block_bytes(k_tiles, columns);
    }

    __device__ __forceinline__ GemmItem item(int i, int rows, int columns) const {
        const int matrix = matrix_of(i);
        const bool shared = matrix >= m.experts;
        GemmItem item = block(i, matrix, shared ? m.shared_rows : m.expert_rows, rows, columns);
        item.k_tiles = k_tiles;
        item.row_bytes = int64_t{1} * k_tiles * Tile::kBytes;
        item.weights = (shared ? m.shared_up : m.up + matrix * m.up_stride) + item.first_row * item.row_bytes;
        return item;
    }
    __device__ __forceinline__ const std::byte* fragments(const GemmItem& item, int c) const {
        const int at = column(item, c), token = item.matrix < m.experts ? at / m.top_k : at;
        return m.fragments + int64_t{1} * token * k_tiles * kTokenTileBytes;
    }
    struct Output {
        std::byte* hidden;
        float scale, factor;
        __device__ __forceinline__ void store(int n, float sum) const {
            store_fragment(hidden, n, hidden_value(sum, scale, Tile::kUnscale, factor),
                           kPacked ? kColumns * kPackedColumnBytes : kTokenTileBytes);
        }
    };
    __device__ __forceinline__ Output output(const GemmItem& item, int c) const {
        const int at = column(item, c);
        const bool shared = item.matrix >= m.experts;
        const int token = shared ? at : at / m.top_k, slot = shared ? m.top_k : at % m.top_k;
        std::byte* hidden = m.hidden;
        if constexpr (kPacked)
            hidden = (shared ? packed_shared_hidden : packed_hidden) + c * kPackedColumnBytes +
                     packed_block(item, kColumns) *
                         packed_block_bytes((shared ? m.shared_rows : m.expert_rows) / 4, kColumns);
        else
            hidden += (int64_t{1} * token * m.hidden_tiles() + slot * m.expert_rows / 4) * kTokenTileBytes;
        return {hidden, shared ? m.shared_up_scale : m.up_scales[item.matrix],
                m.normed ? __ldcg(m.factors + token) : 1.0f};
    }
};

template <class Tile>
struct DownWork : MoeWork {
    int row_tiles, expert_tiles, shared_tiles, segments;
    float* partial;  // [T][segments][n]
    const std::byte *packed_hidden, *packed_shared_hidden;

    __device__ __forceinline__ const std::byte* packed(const GemmItem& item, int columns) const {
        const int block = packed_block(item, columns);
        if (item.matrix < m.experts) return packed_hidden + block * packed_block_bytes(expert_tiles, columns);
        return packed_shared_hidden + block * packed_block_bytes(shared_tiles, columns) +
               packed_block_bytes((item.matrix - m.experts) * expert_tiles, columns);
    }

    __device__ __forceinline__ GemmItem item(int i, int rows, int columns) const {
        const int matrix = matrix_of(i);
        GemmItem item = block(i, matrix, row_tiles, rows, columns);
        if (matrix < m.experts) {
            item.k_tiles = expert_tiles;
            item.row_bytes = int64_t{1} * expert_tiles * Tile::kBytes;
            item.weights = m.down + matrix * m.down_stride + item.first_row * item.row_bytes;
        } else {
            const int first = (matrix - m.experts) * expert_tiles;
            item.k_tiles = min(expert_tiles, shared_tiles - first);
            item.row_bytes = int64_t{1} * shared_tiles * Tile::kBytes;
            item.weights = m.shared_down + item.first_row * item.row_bytes + int64_t{1} * first * Tile::kBytes;
        }
        return item;
    }
    __device__ __forceinline__ const std::byte* fragments(const GemmItem& item, int c) const {
        const int at = column(item, c);
        const bool shared = item.matrix >= m.experts;
        const int token = shared ? at : at / m.top_k;
        const int segment = shared ? m.top_k + item.matrix - m.experts : at % m.top_k;
        return m.hidden + (int64_t{1} * token * m.hidden_tiles() + segment * expert_tiles) * kTokenTileBytes;
    }
    struct Output {
        float* partial;
        float scale, weight;
        int n;
        __device__ __forceinline__ void store(int row, float sum) const {
            if (row < n) partial[row] = weighted(sum, scale, Tile::kUnscale, weight);
        }
    };
    __device__ __forceinline__ Output output(const GemmItem& item, int c) const {
        const int at = column(item, c);
        if (item.matrix >= m.experts)
            return {partial + (int64_t{1} * at * segments + m.top_k + item.matrix - m.experts) * m.n,
                    m.shared_down_scale, 1.0f, m.n};
        return {partial + (int64_t{1} * (at / m.top_k) * segments + at % m.top_k) * m.n, m.down_scales[item.matrix],
                __ldcg(m.chosen_weights + at), m.n};
    }
};

// A token's fragments to its columns of packed blocks: one CTA a (token, slot); the slot after the last is the shared
// expert's.
__global__ void __launch_bounds__(128)
    moe_pack_kernel(const __grid_constant__ MoeTensors m, const int* position, std::byte* inputs,
                    std::byte* shared_inputs, int k_tiles, int columns) {
    ptx::await_previous_kernel();
    const int t = blockIdx.x, slot = blockIdx.y;
    const int at = slot < m.top_k ? __ldcg(position + t * m.top_k + slot) : t;
    std::byte* to = (slot < m.top_k ? inputs : shared_inputs) + at / columns * packed_block_bytes(k_tiles, columns) +
                    at % columns * kPackedColumnBytes;
    const uint4* from = reinterpret_cast<const uint4*>(m.fragments + int64_t{1} * t * k_tiles * kTokenTileBytes);
    for (int i = threadIdx.x; i < k_tiles * 8; i += blockDim.x)
        *reinterpret_cast<uint4*>(to + int64_t{1} * (i / 8) * columns * kPackedColumnBytes + i % 8 * 16) =
            __ldcg(from + i);
}

__global__ void __launch_bounds__(256)
    moe_combine_kernel(const __grid_constant__ MoeTensors m, const float* partial, int segments) {
    ptx::await_previous_kernel();
    const int64_t t = blockIdx.y;
    const int n = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (n >= m.n) return;
    float sum = 0;
    for (int s = 0; s < segments; ++s) sum += __ldcg(partial + (t * segments + s) * m.n + n);
    __nv_bfloat16 rounded = __float2bfloat16_rn(sum);
    if (m.residual)
        rounded =
            __float2bfloat16_rn(__bfloat162float(rounded) + cuda::load_bf16(m.residual + t * m.residual_stride + n));
    m.y[t * m.y_stride + n] = rounded;
}

// Columns of a block, and row tiles: few tokens are bound by the weights, many by the tensor cores.
struct Block {
    int blocks, rows;
};
Block block_for(WeightFormat format, int tokens) {
    if (tokens <= 128) return {1, 1};
    return {8, format == WeightFormat::bf16 ? 1 : 2};
}

constexpr int64_t aligned(int64_t bytes) {
    return (bytes + 255) / 256 * 256;
}

template <class Tile, int kRows, int kBlocks>
void run_blocks(OpContext& context, const MoeTensors& m, const StreamPlan& up, const DownPlan& down,
                const GroupedScratch& scratch) {
    constexpr int kColumns = kBlocks * 8;
    if constexpr (gemm_is_packed(kBlocks))
        cuda::launch(
            moe_pack_kernel, "moe_pack", context.stream,
            dim3(static_cast<unsigned>(m.tokens), static_cast<unsigned>(m.top_k + (m.shared_up != nullptr ? 1 : 0))),
            128, 0, 1, m, scratch.lists.position, scratch.inputs, scratch.shared_inputs, up.k_tiles, kColumns);
    UpWork<Tile, kBlocks> up_work{};
    up_work.m = m;
    up_work.lists = scratch.lists;
    up_work.begin = scratch.lists.up_begin;
    up_work.matrices = m.experts + (m.shared_up != nullptr ? 1 : 0);
    up_work.row_blocks = scratch.lists.up_rows;
    up_work.k_tiles = up.k_tiles;
    up_work.inputs = scratch.inputs;
    up_work.shared_inputs = scratch.shared_inputs;
    up_work.packed_hidden = scratch.hidden;
    up_work.packed_shared_hidden = scratch.shared_hidden;
    launch_gemm<Tile, kRows, kBlocks>(
        context, "moe_up", {.ranks = 1, .stage_tiles = up.stage_tiles, .chains = up.warps, .share = up.share},
        up.k_tiles, up_work.matrices + m.experts + 2, up_work);
    DownWork<Tile> down_work{};
    down_work.m = m;
    down_work.lists = scratch.lists;
    down_work.begin = scratch.lists.down_begin;
    down_work.matrices = m.experts + down.segments - m.top_k;
    down_work.row_blocks = scratch.lists.down_rows;
    down_work.packed_hidden = scratch.hidden;
    down_work.packed_shared_hidden = scratch.shared_hidden;
    down_work.row_tiles = down.row_tiles;
    down_work.expert_tiles = down.expert_tiles;
    down_work.shared_tiles = down.shared_tiles;
    down_work.segments = down.segments;
    down_work.partial = scratch.partial;
    launch_gemm<Tile, kRows, kBlocks>(
        context, "moe_down",
        {.ranks = 1, .stage_tiles = down.stage_tiles, .chains = down.lane_warps, .share = down.share},
        down.expert_tiles, down_work.matrices + m.experts + 2, down_work);
    cuda::launch(moe_combine_kernel, "moe_combine", context.stream,
                 dim3(static_cast<unsigned>((m.n + 255) / 256), static_cast<unsigned>(m.tokens)), 256, 0, 1, m,
                 scratch.partial, down.segments);
}

template <class Tile>
void run_format(OpContext& context, WeightFormat format, const MoeTensors& m, const StreamPlan& up,
                const DownPlan& down, const GroupedScratch& scratch) {
    constexpr int kManyRows = Tile::kBytes == layout::kBf16TileBytes ? 1 : 2;
    if (block_for(format, m.tokens).blocks == 1) return run_blocks<Tile, 1, 1>(context, m, up, down, scratch);
    run_blocks<Tile, kManyRows, 8>(context, m, up, down, scratch);
}

}  // namespace

bool grouped_moe_packs(int tokens) {
    return gemm_is_packed(block_for(WeightFormat::nvfp4, tokens).blocks);
}

namespace {

// Lays the scratch out, from `next` on or, to count, from null.
GroupedScratch lay_out(std::byte*& next, const MoeArgs& a, const DownPlan& down, int tokens) {
    const auto take = [&next](int64_t bytes) { return std::exchange(next, next + aligned(bytes)); };
    const auto ints = [&take](int64_t count) { return reinterpret_cast<int*>(take(4 * count)); };
    const int64_t shared_segments = down.segments - a.top_k, slots = tokens * a.top_k;
    const Block block = block_for(a.up.first.format, tokens);
    const int rows = kGemmWarps * block.rows, columns = block.blocks * 8;
    const auto row_blocks = [rows](int64_t n) { return static_cast<int>((n / 16 + rows - 1) / rows); };
    GroupedScratch grouped{};
    grouped.partial = reinterpret_cast<float*>(take(int64_t{4} * tokens * down.segments * a.x.dim(1)));
    grouped.lists = {.columns = columns,
                     .up_rows = row_blocks(a.up.first.n),
                     .up_shared_rows = row_blocks(a.shared_up.n),
                     .down_rows = row_blocks(int64_t{16} * down.row_tiles),
                     .down_shared_segments = static_cast<int>(shared_segments),
                     .list_begin = ints(a.up.count + 1),
                     .list = ints(slots),
                     .position = nullptr,
                     .up_begin = ints(a.up.count + 2),
                     .down_begin = ints(a.up.count + shared_segments + 1)};
    if (!gemm_is_packed(block.blocks)) return grouped;
    const int64_t blocks = slots / columns + std::min(a.up.count, slots),
                  token_blocks = (tokens + columns - 1) / columns;
    grouped.lists.position = ints(slots);
    grouped.inputs = take(blocks * packed_block_bytes(a.x.dim(1) / 64, columns));
    grouped.shared_inputs = take(token_blocks * packed_block_bytes(a.x.dim(1) / 64, columns));
    grouped.hidden = take(blocks * packed_block_bytes(down.expert_tiles, columns));
    grouped.shared_hidden = take(token_blocks * packed_block_bytes(down.shared_tiles, columns));
    return grouped;
}

}  // namespace

int64_t grouped_moe_scratch_bytes(const MoeArgs& a, const DownPlan& down, int tokens) {
    std::byte* next = nullptr;
    lay_out(next, a, down, tokens);
    return next - static_cast<std::byte*>(nullptr);
}

GroupedScratch grouped_moe_scratch(std::byte* scratch, const MoeArgs& a, const DownPlan& down, int tokens) {
    return lay_out(scratch, a, down, tokens);
}

void run_grouped_moe(OpContext& context, WeightFormat format, const MoeTensors& tensors, const StreamPlan& up,
                     const DownPlan& down, const GroupedScratch& scratch) {
    switch (format) {
        case WeightFormat::nvfp4:
            return run_format<Nvfp4Tile>(context, format, tensors, up, down, scratch);
        case WeightFormat::fp8:
            return run_format<Fp8Tile>(context, format, tensors, up, down, scratch);
        case WeightFormat::bf16:
            return run_format<Bf16Tile>(context, format, tensors, up, down, scratch);
        case WeightFormat::f32:
            break;
    }
    CHECK(false, "grouped moe: {}", name(format));
}

}  // namespace nibble::ops
