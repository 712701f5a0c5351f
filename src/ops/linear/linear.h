// y = W · x (+ residual), row by row; with norm_weight, x is first normalised: rms_norm(x, norm_weight, norm_eps)
// rounded to x's dtype (norm/norm.h), which a row may do as it reads x.
//
// Weights dequantise exactly; products are exact and sums float32 in a fixed order that depends on (N, K, format)
// alone: the result of a row never depends on T. The sum is rounded to y's dtype, then, when a residual is given, added
// to it and rounded again (as a separate addition would be). y may be residual. Any T >= 0; K % 16 == 0 for nvfp4.
#pragma once

#include "ops/op.h"
#include "ops/weight.h"

namespace nibble::ops {

struct LinearArgs {
    Tensor x;            // [T, K] bf16 or f32, rows may be strided
    Weight weight;       // [N, K]
    Tensor bias;         // [N] f32, or empty: added in float32 before rounding
    Tensor residual;     // [T, N] as y, or empty
    Tensor y;            // [T, N] bf16 or f32, rows may be strided
    Tensor norm_weight;  // [K] as x, or empty
    float norm_eps = 1e-6f;
};
void linear(OpContext&, const LinearArgs&);
extern const Op<LinearArgs> kLinear;

}  // namespace nibble::ops
