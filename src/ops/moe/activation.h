// The activations of ops moe and activate, as the oracles compute them.
#pragma once

#include "ops/moe/moe.h"

#include <cmath>

namespace nibble::ops {

constexpr bool is_gated(Activation activation) {
    return activation != Activation::relu2;
}

// For relu2 `gate` is the only input and `up` is not read.
inline float activated(Activation activation, float gate, float up) {
    const double v = gate;
    switch (activation) {
        case Activation::relu2:
            return gate <= 0.0f ? 0.0f : gate * gate;  // NaN stays NaN
        case Activation::swiglu:
            return static_cast<float>(v / (1.0 + std::exp(-v)) * up);
        case Activation::gelu_tanh_glu:
            return static_cast<float>(0.5 * v * (1.0 + std::tanh(0.7978845608028654 * (v + 0.044715 * v * v * v))) *
                                      up);
    }
    return 0.0f;
}

}  // namespace nibble::ops
