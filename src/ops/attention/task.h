// How the SIMD row of attention cuts its work (attention_simd.cpp says why).
#pragma once

#include "ops/attention/attention.h"
#include "ops/linear/cpu_layout.h"

#include <algorithm>
#include <bit>
#include <cstdint>

namespace nibble::ops {

inline constexpr int64_t kBlockKeys = 256;  // keys
inline constexpr int64_t kMaxSpans = 32;
inline constexpr int64_t kTileValues = 8192;  // float32 of a tile's queries, and of their sums
inline constexpr int64_t kMaxTileQueries = 64;
inline constexpr int64_t kMaxHeadDim = 512;
inline constexpr int64_t kHeadPadding = 32;  // a head's row is padded to this many elements in scratch

// Queries of one sequence that share a KV head, numbered (row in the sequence) * G + (head in the group).
struct AttentionTask {
    int32_t sequence, kv_head;
    int32_t first_query, queries;
    int32_t span;       // -1: all of them, and the result
    int64_t span_keys;  // length of a span, the same for all queries
};

constexpr int64_t padded_dim(int64_t head_dim) {
    return round_up(head_dim, kHeadPadding);
}
constexpr int64_t tile_queries(int64_t head_dim) {
    return std::clamp<int64_t>(kTileValues / padded_dim(head_dim), 1, kMaxTileQueries);
}
// Keys a span for a query at position p: kBlockKeys times a power of two.
inline int64_t span_length(int64_t position) {
    const uint64_t blocks = static_cast<uint64_t>((position + kBlockKeys) / kBlockKeys);
    return kBlockKeys * static_cast<int64_t>(std::bit_ceil((blocks + kMaxSpans - 1) / kMaxSpans));
}
// The keys that a query at a position sees: [low, high).
struct KeyRange {
    int64_t low, high;
    KeyRange(const AttentionArgs& a, int64_t position)
        : low(a.window > 0 ? std::max<int64_t>(0, position + 1 - a.window) : 0), high(position + 1) {}
};
// A span's result for one query: the sum of values (padded_dim), then largest score and sum of weights.
constexpr int64_t partial_floats(int64_t head_dim) {
    return padded_dim(head_dim) + 2;
}

}  // namespace nibble::ops
