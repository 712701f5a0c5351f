// Row loops of the activations, for the CPU rows of moe and activate. Any thread.
#pragma once

#include "ops/moe/moe.h"

namespace nibble::ops {

// y[i] = act(gate[i], up[i]) rounded to dtype, for i in [0, count). relu2 does not read `up`, which may be null.
void activate_sums(Activation activation, const float* gate, const float* up, int64_t count, DType dtype, std::byte* y);
// The same from a row of dtype.
void activate_row(Activation activation, const std::byte* gate, const std::byte* up, int64_t count, DType dtype,
                  std::byte* y);

// total[i] += weight * sums[i].
void add_scaled(const float* sums, float weight, int64_t count, float* total);

}  // namespace nibble::ops
