// Norm: a layer's RMSNorm with its own weight. Blocks are given the norm in front of them, so that a projection may
// apply it as it reads its input.
#pragma once

#include "ops/norm/norm.h"

#include <string>

namespace nibble::model {

struct Norm {
    std::string module;     // "backbone.layers.0.norm"
    device::Tensor weight;  // [H] bf16 or f32
    float eps = 1e-5f;

    void forward(ops::OpContext& context, device::Tensor x, device::Tensor y) const {
        ops::ModuleScope scope(context, module);
        ops::rms_norm(context, {.x = x, .weight = weight, .y = y, .eps = eps});
    }
};

}  // namespace nibble::model
