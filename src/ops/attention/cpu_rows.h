// The CPU rows of attention, for its table.
#pragma once

#include "ops/attention/attention.h"

namespace nibble::ops {

// Blocked over keys, by Highway: heads of up to 512 elements.
bool accepts_attention_simd(const AttentionArgs&, const device::Device&);
int64_t scratch_attention_simd(const AttentionArgs&, const device::Device&);
void attention_simd(OpContext&, const AttentionArgs&);

void attention_ref(OpContext&, const AttentionArgs&);

}  // namespace nibble::ops
