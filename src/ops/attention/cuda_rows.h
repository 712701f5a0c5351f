// The CUDA rows of op attention, as its table sees them. Present in a build with CUDA only.
#pragma once

#include "ops/attention/attention.h"

namespace nibble::ops {

// attention_mma.cu: heads of 64 or 128 elements, on tensor cores.
bool mma_attention_accepts(const AttentionArgs&, const device::Device&);
int64_t mma_attention_scratch_bytes(const AttentionArgs&, const device::Device&);
void run_mma_attention(OpContext&, const AttentionArgs&);

// attention.cu: any head that divides a CTA's threads.
bool cuda_attention_accepts(const AttentionArgs&, const device::Device&);
int64_t cuda_attention_scratch_bytes(const AttentionArgs&, const device::Device&);
void run_cuda_attention(OpContext&, const AttentionArgs&);

}  // namespace nibble::ops
