// The routed MoE on a GPU. One token takes three kernels that read each chosen expert once:
//   router   (router.cu) input fragments, logits, the top k
//   up       row tiles of the shared expert (requested before the dependency wait) and of the chosen experts dealt to
//            the CTAs in turn; relu², rounded, stored as B fragments of the next product
//   down     a cluster of two per group of row tiles; each CTA's segments (an expert, or an expert's worth of the
//   shared
//            one) have their own warps; sums: warps of a segment in order, experts in ascending index, the shared last
// More tokens take the grouped products (grouped_moe.cu), whose sums have the same order.
#include "ops/cuda/launch.h"
#include "ops/moe/cuda_moe.cuh"
#include "ops/moe/cuda_rows.h"

#include <utility>

namespace nibble::ops {
namespace {

using namespace tiles;

struct UpParams {
    MoeTensors m;
    uint32_t sixteen;
    StreamPlan plan;  // of all row tiles; cluster 1
};

template <class Tile>
__global__ void __launch_bounds__((kStreamMaxWarps + 1) * 32, 2) moe_up_kernel(const __grid_constant__ UpParams p) {
    extern __shared__ __align__(128) std::byte shared[];
    const StreamPlan& plan = p.plan;
    const MoeTensors& m = p.m;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = plan.warps;
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
        if (fill_row < m.shared_rows) {
            source = m.shared_up + fill_row * row_bytes;
        } else {
            const int slot = (fill_row - m.shared_rows) / m.expert_rows,
                      row = (fill_row - m.shared_rows) % m.expert_rows;
            source = m.up + chosen[slot] * m.up_stride + row * row_bytes;
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
        while (filled < plan.depth && fill_row < m.shared_rows) fill();
    }
    if (threadIdx.x < kTokenTileBytes / 16) reinterpret_cast<uint4*>(zeros)[threadIdx.x] = make_uint4(0, 0, 0, 0);
    ptx::await_previous_kernel();  // the router: what it chose is there for moe_down before its own wait
    if (warp == warps) {
        if (lane < m.top_k) chosen[lane] = __ldcg(m.chosen + lane);
        __syncwarp();
        if (lane == 0) {
            const uint32_t bytes = static_cast<uint32_t>(plan.k_tiles * kTokenTileBytes);
            ptx::fence_proxy_async();
            ptx::mbarrier_arrive_expect(tokens_full, bytes);
            ptx::bulk_load(tokens_shared, m.fragments, bytes, tokens_full, ptx::evict_last_policy());
            while (filled < plan.depth && fill_row < plan.row_tiles) fill();
        }
        __syncwarp();
    }
    __syncthreads();
    ptx::mbarrier_wait(tokens_full, 0);
    const float factor = m.normed ? __ldcg(m.factors) : 1.0f;

    TokenColumns<1> columns;
    columns.opaque_sixteen = p.sixteen;
    columns.point(0, tokens_shared, zeros, (lane >> 2) == 0 ? 0 : -1, 1, lane);
    const int my_rows = (plan.row_tiles - blockIdx.x + gridDim.x - 1) / gridDim.x;
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
                    for (int i = warp * plan.share; i < min((warp + 1) * plan.share, count); ++i)
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
            int n = row * 16 + i % 16, tile_base = m.top_k * m.expert_rows / 4;  // of the shared expert's hidden tiles
            float scale = m.shared_up_scale;
            if (row >= m.shared_rows) {
                const int slot = (row - m.shared_rows) / m.expert_rows;
                n -= (m.shared_rows + slot * m.expert_rows) * 16;
                tile_base = slot * m.expert_rows / 4;
                scale = m.up_scales[chosen[slot]];
            }
            store_fragment(m.hidden + int64_t{1} * tile_base * kTokenTileBytes, n,
                           hidden_value(sum, scale, Tile::kUnscale, factor));
        }
        if (first + plan.sum_rows < my_rows) __syncthreads();
    }
}

struct DownParams {
    MoeTensors m;
    uint32_t sixteen;
    DownPlan plan;
};

template <class Tile>
__global__ void __launch_bounds__((kStreamMaxWarps + 1) * 32, 2) moe_down_kernel(const __grid_constant__ DownParams p) {
    extern __shared__ __align__(128) std::byte shared[];
    const DownPlan& plan = p.plan;
    const MoeTensors& m = p.m;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = plan.warps();
    const int rank = plan.cluster > 1 ? static_cast<int>(ptx::cluster_rank()) : 0, group = blockIdx.x / plan.cluster;
    const int row_begin = group * plan.row_tiles / plan.groups, row_end = (group + 1) * plan.row_tiles / plan.groups;
    const int seg_begin = rank * plan.segments / plan.cluster, seg_end = (rank + 1) * plan.segments / plan.cluster;
    const int my_segments = seg_end - seg_begin, rows = row_end - row_begin;
    const auto segment_tiles = [&](int segment) {
        return segment < m.top_k ? plan.expert_tiles
                                 : min(plan.expert_tiles, plan.shared_tiles - (segment - m.top_k) * plan.expert_tiles);
    };
    const int stage_bytes = plan.stage_tiles * Tile::kBytes;
    std::byte* tokens_shared = shared + plan.depth * stage_bytes;
    std::byte* zeros = tokens_shared + plan.lanes * plan.expert_tiles * kTokenTileBytes;
    float* sums = reinterpret_cast<float*>(zeros + kTokenTileBytes);  // [row][warp][16]
    float* remote = sums + plan.max_rows() * warps * 16;              // rank 0: [other segment][row][16]
    __shared__ uint64_t barriers[2 * kStreamMaxDepth + 1];
    __shared__ int chosen[kMaxTopK];
    __shared__ float chosen_weights[kMaxTopK];
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
        const std::byte* source = segment < m.top_k
                                      ? m.down + chosen[segment] * m.down_stride +
                                            int64_t{1} * (row_begin + row) * plan.expert_tiles * Tile::kBytes
                                      : m.shared_down + (int64_t{1} * (row_begin + row) * plan.shared_tiles +
                                                         (segment - m.top_k) * plan.expert_tiles) *
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
    }
    if (warp == warps) {  // the router's kernel has ended before moe_up passed its wait
        if (lane < m.top_k)
            chosen[lane] = __ldcg(m.chosen + lane), chosen_weights[lane] = __ldcg(m.chosen_weights + lane);
        __syncwarp();
        if (lane == 0)
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
        ptx::bulk_load(tokens_shared, m.hidden + int64_t{1} * first * kTokenTileBytes, bytes, tokens_full,
                       ptx::evict_last_policy());
    }
    unsigned short residual_bits = 0;
    const int my_n = row_begin * 16 + threadIdx.x;
    if (m.residual && rank == 0 && threadIdx.x < rows * 16 && my_n < m.n)
        residual_bits = __ldcg(reinterpret_cast<const unsigned short*>(m.residual + my_n));
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
                    for (int i = part * plan.share; i < min((part + 1) * plan.share, count); ++i)
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
        if (segment >= m.top_k) return weighted(sum, m.shared_down_scale, Tile::kUnscale, 1.0f);
        return weighted(sum, m.down_scales[chosen[segment]], Tile::kUnscale, chosen_weights[segment]);
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
        if (n >= m.n) continue;
        float sum = 0;
        for (int at = 0; at < my_segments; ++at) sum += segment_value(at, row, r);
        for (int other = 0; other < plan.segments - my_segments; ++other)
            sum += remote[(other * plan.max_rows() + row) * 16 + r];
        __nv_bfloat16 rounded = __float2bfloat16_rn(sum);
        if (m.residual) {
            if (i != threadIdx.x) residual_bits = __ldcg(reinterpret_cast<const unsigned short*>(m.residual + n));
            rounded = __float2bfloat16_rn(__bfloat162float(rounded) + __uint_as_float(uint32_t{residual_bits} << 16));
        }
        m.y[n] = rounded;
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

// Of a CTA, two of which share a multiprocessor.
int64_t ring_bytes(const device::Device& device) {
    return cuda::shared_budget(device, 2) - 24 * 1024;
}

DownPlan plan_down(const MoeArgs& a, const device::Device& device) {
    DownPlan plan{};
    plan.row_tiles = static_cast<int>(a.down.first.n / 16);
    plan.expert_tiles = static_cast<int>(a.down.first.k / 64);
    plan.shared_tiles = a.shared_down.empty() ? 0 : static_cast<int>(a.shared_down.k / 64);
    plan.segments = static_cast<int>(a.top_k) + (plan.shared_tiles + plan.expert_tiles - 1) / plan.expert_tiles;
    plan.cluster = plan.segments > 1 ? 2 : 1;
    plan.groups = std::min(device.multiprocessors / plan.cluster, plan.row_tiles);
    plan.lanes = (plan.segments + plan.cluster - 1) / plan.cluster;
    plan.lane_warps = std::clamp((kStreamMaxWarps - 1) / plan.lanes, 1, plan.expert_tiles);
    const int bytes = tile_bytes(a.down.first.format);
    plan.stage_tiles = std::min(plan.expert_tiles, std::max(1, kStreamStageBytes / bytes));
    plan.chunks = (plan.expert_tiles + plan.stage_tiles - 1) / plan.stage_tiles;
    plan.stage_tiles = (plan.expert_tiles + plan.chunks - 1) / plan.chunks;
    plan.share = (plan.stage_tiles + plan.lane_warps - 1) / plan.lane_warps;
    plan.depth =
        static_cast<int>(std::clamp<int64_t>(ring_bytes(device) / (plan.stage_tiles * bytes), 2, kStreamMaxDepth));
    return plan;
}

template <class Tile>
void run_one(OpContext& context, const UpParams& up, const DownParams& down) {
    const StreamPlan& plan = up.plan;
    const size_t up_shared = static_cast<size_t>(plan.ring_bytes(Tile::kBytes)) + (plan.k_tiles + 1) * kTokenTileBytes +
                             sizeof(float) * plan.sum_rows * plan.warps * 16;
    const DownPlan& d = down.plan;
    const size_t down_shared = static_cast<size_t>(d.depth) * d.stage_tiles * Tile::kBytes +
                               (d.lanes * d.expert_tiles + 1) * kTokenTileBytes +
                               sizeof(float) * d.max_rows() * 16 * (d.warps() + d.segments);
    static const bool allowed =
        (cuda::allow_shared(moe_up_kernel<Tile>), cuda::allow_shared(moe_down_kernel<Tile>), true);
    (void)allowed;
    cuda::launch(moe_up_kernel<Tile>, "moe_up", context.stream, dim3(static_cast<unsigned>(plan.groups)),
                 plan.threads(), up_shared, 1, up);
    cuda::launch(moe_down_kernel<Tile>, "moe_down", context.stream, dim3(static_cast<unsigned>(d.groups * d.cluster)),
                 (d.warps() + 1) * 32, down_shared, static_cast<unsigned>(d.cluster), down);
}

struct Scratch {
    int64_t logits, fragments, factors, chosen, chosen_weights, hidden, grouped, total;
    Scratch(const MoeArgs& a, const DownPlan& down) {
        const int64_t t = std::min<int64_t>(a.x.dim(0), kMoeMaxTokens), h = a.x.dim(1);
        const bool packs = t > 1 && grouped_moe_packs(static_cast<int>(t));
        const auto take = [this](int64_t bytes) { return std::exchange(total, total + (bytes + 255) / 256 * 256); };
        total = 0;
        logits = take(t * a.up.count * 4);
        fragments = take(t * (h / 64) * kTokenTileBytes);
        factors = take(t * 4);
        chosen = take(t * a.top_k * 4);
        chosen_weights = take(t * a.top_k * 4);
        hidden = take(packs ? 0 : t * ((a.top_k * a.down.first.k + a.shared_down.k) / 64) * kTokenTileBytes);
        grouped = take(t > 1 ? grouped_moe_scratch_bytes(a, down, static_cast<int>(t)) : 0);
    }
};

void run_some(OpContext& context, const MoeArgs& a) {
    const DownPlan down_plan = plan_down(a, *context.device);
    const Scratch at(a, down_plan);
    std::byte* scratch = context.arena->allocate_bytes(at.total);
    const int tokens = static_cast<int>(a.x.dim(0)), h = static_cast<int>(a.x.dim(1));
    GroupedScratch grouped{};
    if (tokens > 1) grouped = grouped_moe_scratch(scratch + at.grouped, a, down_plan, tokens);
    const RouterParams router{.x = a.x.as<__nv_bfloat16>(),
                              .x_stride = a.x.row_stride(),
                              .norm_weight = a.norm_weight.as<__nv_bfloat16>(),
                              .norm_eps = a.norm_eps,
                              .router = a.router.data,
                              .router_is_float = a.router.format == WeightFormat::f32,
                              .bias = a.correction_bias.as<float>(),
                              .tokens = tokens,
                              .tokens_a_cta = tokens <= 64 ? 1 : 8,
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
                              .expert_tokens = a.expert_tokens.as<int>(),
                              .lists = grouped.lists};
    launch_router(context, router);
    const int shared_n = static_cast<int>(a.shared_up.n), expert_n = static_cast<int>(a.up.first.n);
    const MoeTensors tensors{.up = a.up.first.data,
                             .down = a.down.first.data,
                             .up_stride = a.up.stride_bytes,
                             .down_stride = a.down.stride_bytes,
                             .up_scales = a.up.scales.as<float>(),
                             .down_scales = a.down.scales.as<float>(),
                             .shared_up = a.shared_up.data,
                             .shared_down = a.shared_down.data,
                             .shared_up_scale = a.shared_up.scale,
                             .shared_down_scale = a.shared_down.scale,
                             .fragments = router.fragments,
                             .factors = router.factors,
                             .chosen = router.chosen,
                             .chosen_weights = router.chosen_weights,
                             .hidden = scratch + at.hidden,
                             .residual = a.residual.as<__nv_bfloat16>(),
                             .residual_stride = a.residual.empty() ? 0 : a.residual.row_stride(),
                             .y = a.y.as<__nv_bfloat16>(),
                             .y_stride = a.y.row_stride(),
                             .tokens = tokens,
                             .experts = router.experts,
                             .top_k = router.top_k,
                             .n = h,
                             .expert_rows = expert_n / 16,
                             .shared_rows = shared_n / 16,
                             .normed = !a.norm_weight.empty()};
    const StreamPlan up_plan =
        plan_stream(int64_t{1} * router.top_k * expert_n + shared_n, h, tile_bytes(a.up.first.format),
                    context.device->multiprocessors, ring_bytes(*context.device), 1);
    if (tokens > 1) return run_grouped_moe(context, a.up.first.format, tensors, up_plan, down_plan, grouped);
    const UpParams up{.m = tensors, .sixteen = 16, .plan = up_plan};
    const DownParams down{.m = tensors, .sixteen = 16, .plan = down_plan};
    switch (a.up.first.format) {
        case WeightFormat::nvfp4:
            return run_one<Nvfp4Tile>(context, up, down);
        case WeightFormat::fp8:
            return run_one<Fp8Tile>(context, up, down);
        case WeightFormat::bf16:
            return run_one<Bf16Tile>(context, up, down);
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
           a.top_k <= kMaxTopK && a.expert_groups <= 32 && a.up.count <= kMaxGroupedExperts &&
           a.x.dim(1) <= 4 * kRouterThreads * kRouterVectors &&
           (a.router.format == WeightFormat::f32 || a.router.format == WeightFormat::bf16) &&
           a.router.layout == WeightLayout::row_major && a.router.scale == 1.0f;
}

int64_t stream_moe_scratch_bytes(const MoeArgs& a, const device::Device& device) {
    return Scratch(a, plan_down(a, device)).total;
}

void run_stream_moe(OpContext& context, const MoeArgs& all) {
    for (int64_t first = 0; first < all.x.dim(0); first += kMoeMaxTokens) {
        const int64_t last = std::min<int64_t>(first + kMoeMaxTokens, all.x.dim(0));
        MoeArgs some = all;
        some.x = all.x.rows(first, last);
        some.y = all.y.rows(first, last);
        if (!all.residual.empty()) some.residual = all.residual.rows(first, last);
        device::ArenaScope scope(*context.arena);
        run_some(context, some);
    }
}

}  // namespace nibble::ops
