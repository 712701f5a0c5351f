// The CPU rows of moe and activate, for their tables.
#pragma once

#include "ops/moe/moe.h"

namespace nibble::ops {

// vdpbf16ps on cpu_rows16 (linear/rows16.h): bf16 activations; the router and the shared gate of any format, all other
// matrices bf16, fp8 or nvfp4.
bool accepts_moe_avx512_bf16(const MoeArgs&, const device::Device&);
int64_t scratch_moe_avx512_bf16(const MoeArgs&, const device::Device&);
void moe_avx512_bf16(OpContext&, const MoeArgs&);

// float32 arithmetic on cpu_rows16, by Highway: everything.
bool accepts_moe_simd(const MoeArgs&, const device::Device&);
int64_t scratch_moe_simd(const MoeArgs&, const device::Device&);
void moe_simd(OpContext&, const MoeArgs&);

void moe_ref(OpContext&, const MoeArgs&);

void activate_simd(OpContext&, const ActivateArgs&);
void activate_ref(OpContext&, const ActivateArgs&);

}  // namespace nibble::ops
