// The CUDA rows of linear, for its table. Present in a build with CUDA only.
#pragma once

#include "ops/linear/linear.h"

namespace nibble::ops {

inline constexpr int kStreamMaxTokens = 16;              // tokens that one pass over the weights serves
inline constexpr int64_t kStreamTokenBytes = 96 * 1024;  // of shared memory for their inputs
void run_stream_linear(OpContext&, const LinearArgs&);

}  // namespace nibble::ops
