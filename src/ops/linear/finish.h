// What happens to a linear's float32 sums: bias, rounding to y's dtype, residual, rounding again.
#pragma once

#include "ops/op.h"

namespace nibble::ops {

// y[t][first + i] for i in [0, count) from sums[i]. bias and residual may be empty. Any thread.
void finish_row(const float* sums, int64_t count, int64_t first, const Tensor& bias, const Tensor& residual,
                const Tensor& y, int64_t t);

}  // namespace nibble::ops
