// The CPU rows of mamba, for its table.
#pragma once

#include "ops/mamba/mamba.h"

namespace nibble::ops {

// The recurrence, token by token, by Highway: convolutions of up to 16 taps.
bool accepts_mamba_simd(const MambaArgs&, const device::Device&);
int64_t scratch_mamba_simd(const MambaArgs&, const device::Device&);
void mamba_simd(OpContext&, const MambaArgs&);

void mamba_ref(OpContext&, const MambaArgs&);

}  // namespace nibble::ops
