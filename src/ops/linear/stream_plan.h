// StreamPlan: how a linear's tiles are dealt to a GPU. Pure; tested without one.
#pragma once

#include "ops/linear/cuda_layout.h"

#include <algorithm>
#include <cstdint>

namespace nibble::ops {

struct StreamPlan {
    int row_tiles = 0, k_tiles = 0;
    int cluster = 1;      // CTAs that share a row tile's K
    int groups = 0;       // clusters in the grid
    int warps = 0;        // that multiply, in a CTA; one more fills the ring
    int stage_tiles = 0;  // tiles of one row tile in a ring stage: a multiple of warps, or all of the CTA's; a function
                          // of (n, k) alone
    int depth = 0;        // stages
    int sum_rows = 0;     // row tiles whose sums are merged at once
    int share = 0;        // tiles of a stage that a warp takes: [w, w + 1) · share

    constexpr int max_row_tiles() const { return (row_tiles + groups - 1) / groups; }
    constexpr int max_k_tiles() const { return (k_tiles + cluster - 1) / cluster; }
    constexpr int threads() const { return (warps + 1) * 32; }
    constexpr int64_t ring_bytes(int tile_bytes) const { return int64_t{1} * depth * stage_tiles * tile_bytes; }
};

inline constexpr int kStreamMaxDepth = 8;
inline constexpr int kStreamStageBytes = 28 * 1024;
// With the filling warp 768 threads of 40 registers: two such CTAs share a multiprocessor, so that the next kernel's
// weights arrive while this one computes, and six warps a scheduler hide the conversion's latencies.
inline constexpr int kStreamMaxWarps = 23;

// ring_budget_bytes: shared memory for the ring (at least two stages are taken).
constexpr StreamPlan plan_stream(int64_t n, int64_t k, int tile_bytes, int multiprocessors, int64_t ring_budget_bytes,
                                 int max_cluster = 4) {
    StreamPlan plan;
    plan.row_tiles = static_cast<int>((n + cuda_layout::kTileRows - 1) / cuda_layout::kTileRows);
    plan.k_tiles = static_cast<int>((k + cuda_layout::kTileInputs - 1) / cuda_layout::kTileInputs);
    // Fewest tiles on the busiest CTA; the exchange of a cluster counts as eight tiles.
    int64_t best = -1;
    for (int cluster = 1; cluster <= max_cluster; cluster *= 2) {
        if (cluster > 1 && plan.k_tiles < 8 * cluster) break;
        const int groups = std::min(multiprocessors / cluster, plan.row_tiles);
        if (groups == 0) break;
        const int64_t rows = (plan.row_tiles + groups - 1) / groups;
        const int64_t cost = rows * ((plan.k_tiles + cluster - 1) / cluster) + (cluster > 1 ? 8 + 2 * rows : 0);
        if (best < 0 || cost < best) {
            best = cost;
            plan.cluster = cluster;
            plan.groups = groups;
        }
    }
    const int k_tiles = plan.max_k_tiles();
    int64_t waste = -1;
    for (int warps = kStreamMaxWarps; warps >= 12; --warps) {
        const int64_t here = int64_t{1} * ((k_tiles + warps - 1) / warps) * warps;
        if (waste < 0 || here < waste) {
            waste = here;
            plan.warps = warps;
        }
    }
    // Large stages: large enough for the copy engine, small enough for a few of them.
    const int turns = (k_tiles + plan.warps - 1) / plan.warps;
    const int stage_turns = std::clamp(kStreamStageBytes / (plan.warps * tile_bytes), 1, turns);
    plan.stage_tiles = std::min(k_tiles, stage_turns * plan.warps);
    const int64_t stage_bytes = int64_t{1} * plan.stage_tiles * tile_bytes;
    plan.depth = static_cast<int>(std::clamp<int64_t>(ring_budget_bytes / stage_bytes, 2, kStreamMaxDepth));
    plan.sum_rows = std::min(plan.max_row_tiles(), 16);
    plan.share = (plan.stage_tiles + plan.warps - 1) / plan.warps;
    return plan;
}

}  // namespace nibble::ops
