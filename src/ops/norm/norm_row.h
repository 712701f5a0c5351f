// One row of op rms_norm, for rows that normalise as they go (norm, linear, moe).
#pragma once

#include "ops/op.h"

namespace nibble::ops {

// y = rms_norm(x + residual) of width weight.elements(); residual (may be null) receives the sum. x and residual are
// `dtype`, bf16 or f32; y is `y_dtype`, as x or bf16, and may be x. Any thread.
void rms_norm_row(const std::byte* x, std::byte* residual, const Tensor& weight, bool unit_offset, float eps,
                  DType dtype, DType y_dtype, std::byte* y);

}  // namespace nibble::ops
