// Causal grouped-query attention over a paged cache: appends this step's keys and values, then attends.
//
// For row t of sequence b at position p:  out[h] = Σ_j softmax_j(scale · q[t,h]·k[j,h/G]) v[j,h/G],  j in [max(0,
// p+1-window), p], G = Hq / Hkv. Keys and values are what the cache holds after rounding to its dtype (E4M3: divided by
// k_scale/v_scale, saturated; multiplied back on read). Scores and sums float32; the merge order depends on p alone,
// never on the batch.
#pragma once

#include "ops/op.h"
#include "ops/sequences.h"

namespace nibble::ops {

struct AttentionArgs {
    Tensor q;                 // [T, Hq * D] bf16 or f32, rows may be strided
    Tensor k, v;              // [T, Hkv * D] as q
    Tensor k_pages, v_pages;  // [pages, page_size, Hkv, D] bf16, f32 or f8_e4m3
    Tensor out;               // [T, Hq * D] as q
    Sequences sequences;
    int64_t query_heads = 0, kv_heads = 0, head_dim = 0;
    float scale = 0.0f;  // usually D^-1/2
    int64_t window = 0;  // keys a query sees, its own included; 0: all
    float k_scale = 1.0f, v_scale = 1.0f;
};
void attention(OpContext&, const AttentionArgs&);
extern const Op<AttentionArgs> kAttention;

}  // namespace nibble::ops
