// y = x / sqrt(mean(x²) + eps) · w, row by row; w is used as (1 + w) when unit_offset.
//
// Reads x, residual; residual += x first when residual is given (rounded to its dtype), and the sum is what is
// normalised. Sums in float32; the weight is applied in float32 and only the product is rounded. y may be x, when
// of its dtype. Any T.
#pragma once

#include "ops/op.h"

namespace nibble::ops {

struct RmsNormArgs {
    Tensor x;         // [T, H] bf16 or f32, rows may be strided
    Tensor residual;  // [T, H] as x, or empty
    Tensor weight;    // [H] bf16 or f32
    Tensor y;         // [T, H] as x, or bf16
    float eps = 1e-6f;
    bool unit_offset = false;  // Gemma stores w - 1
};
void rms_norm(OpContext&, const RmsNormArgs&);
extern const Op<RmsNormArgs> kRmsNorm;

}  // namespace nibble::ops
