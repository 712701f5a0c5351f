// Nvfp4Activations: W4A4 in plain arithmetic, to measure what it would lose. Where a step's OpContext asks for it,
// linear rounds its input to NVFP4 wherever the weight is NVFP4 and has an input scale. Nothing serves so.
//
//   gs = 1 / input_scale;  s = e4m3(min(gs · (max |x| · (1/6)), 448)) for 16 consecutive x;  code = e2m1(x · (gs / s)),
//   0 where s is 0;  y = (Σ (code · s) · (w_code · w_s)) · (input_scale · weight_scale)
// which is vLLM's emulation of its kernel, every step one float32 operation. code · s has six significant bits and is
// exact in bf16, so the sum is of exact products. CPU alone. Routed experts are not rounded: who measures a model that
// has them must refuse.
#pragma once

#include <span>

namespace nibble::ops {

// x [K], K % 16 == 0, to code · s.
void round_to_nvfp4(std::span<float> x, float input_scale);

}  // namespace nibble::ops
