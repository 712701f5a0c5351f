// Rotary position embedding in place, "half" pairing (element i with i + D/2), as transformers' rotate_half.
//
// x[i]' = x[i] cos - x[i + D/2] sin,  x[i + D/2]' = x[i + D/2] cos + x[i] sin, with angle = position * inv_freq[i]; cos
// and sin are float32 values times `scale` rounded to x's dtype (as transformers casts them), products in float32.
// inv_freq carries every scaling kind (linear, dynamic, llama3, yarn, longrope): model/blocks computes it.
#pragma once

#include "ops/op.h"

namespace nibble::ops {

struct RopeArgs {
    Tensor x;          // [T, heads * D] bf16 or f32, rows may be strided; only the first 2 * |inv_freq| of each D turn
    Tensor positions;  // [T] i32
    Tensor inv_freq;   // [R/2] f32, R <= D the rotated width
    int64_t heads = 0, head_dim = 0;
    float scale = 1.0f;  // attention factor of yarn and longrope
};
void rope(OpContext&, const RopeArgs&);
extern const Op<RopeArgs> kRope;

}  // namespace nibble::ops
