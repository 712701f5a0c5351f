// The CUDA rows of linear, for its table. Present in a build with CUDA only.
#pragma once

#include "ops/linear/linear.h"

namespace nibble::ops {

inline constexpr int kStreamMaxTokens = 16;  // tokens that one pass of the streaming kernel serves
inline constexpr int kGemmMaxTokens = 4096;  // and of the tile product: bounds the scratch
bool stream_linear_accepts(const LinearArgs&, const device::Device&);
int64_t stream_linear_scratch_bytes(const LinearArgs&, const device::Device&);
void run_stream_linear(OpContext&, const LinearArgs&);

// Any format and shape in row_major, a warp an output: what the tiles cannot hold.
bool plain_linear_accepts(const LinearArgs&, const device::Device&);
void run_plain_linear(OpContext&, const LinearArgs&);

}  // namespace nibble::ops
