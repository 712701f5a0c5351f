// The CPU rows of linear, for its table.
#pragma once

#include "ops/linear/linear.h"

namespace nibble::ops {

// vdpbf16ps on cpu_rows16: bf16 activations; bf16, fp8 and nvfp4 weights.
bool accepts_linear_avx512_bf16(const LinearArgs&, const device::Device&);
int64_t scratch_linear_avx512_bf16(const LinearArgs&, const device::Device&);
void linear_avx512_bf16(OpContext&, const LinearArgs&);

// float32 arithmetic on cpu_rows16, by Highway: everything.
bool accepts_linear_simd(const LinearArgs&, const device::Device&);
int64_t scratch_linear_simd(const LinearArgs&, const device::Device&);
void linear_simd(OpContext&, const LinearArgs&);

void linear_ref(OpContext&, const LinearArgs&);

}  // namespace nibble::ops
