// The CUDA rows of moe, for its table. Present in a build with CUDA only.
#pragma once

#include "ops/moe/moe.h"

namespace nibble::ops {

bool stream_moe_accepts(const MoeArgs&, const device::Device&);
int64_t stream_moe_scratch_bytes(const MoeArgs&, const device::Device&);
void run_stream_moe(OpContext&, const MoeArgs&);

}  // namespace nibble::ops
