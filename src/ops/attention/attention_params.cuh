// What the CUDA rows of op attention share: their parameters and the append kernel.
#pragma once

#include "ops/attention/attention.h"

#include <cuda_bf16.h>

#include <cstdint>

namespace nibble::ops {

enum class Cache : uint8_t { bf16, f32, f8 };

struct AttentionParams {
    const __nv_bfloat16 *q, *k, *v;
    int64_t q_stride, k_stride, v_stride, out_stride;
    void *k_pages, *v_pages;
    __nv_bfloat16* out;
    const int32_t *row_start, *context_length, *page_table;
    int64_t page_table_stride;
    int sequences, tokens, page_size, query_heads, kv_heads, head_dim, group, group_parts;
    float scale, k_scale, v_scale;
    int window;
    Cache cache;
    int max_splits;  // side by side when > 1
    float* partial;  // [row][head part][split][query][D + 2]: sums, largest, total
};

inline constexpr int kMaxGroup = 16;   // query heads of a key-value head that a CTA holds
inline constexpr int kMaxRows = 1024;  // rows whose splits run side by side (arrival counters)
inline constexpr int64_t kMaxScratchBytes = int64_t{64} << 20;

inline int group_parts(const AttentionArgs& a) {
    return static_cast<int>((a.query_heads / a.kv_heads + kMaxGroup - 1) / kMaxGroup);
}

AttentionParams attention_params(const AttentionArgs& a);  // max_splits 1

// This step's keys and values to the cache, each element rounded to its type.
void append_to_cache(OpContext& context, const AttentionParams& p);

}  // namespace nibble::ops
