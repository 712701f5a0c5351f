// MlpBlock: a dense feed-forward layer, plain (up, relu²) or gated (gate and up side by side).
#pragma once

#include "model/blocks/projection.h"
#include "model/blocks/step.h"
#include "ops/moe/moe.h"

#include <string>

namespace nibble::model {

struct MlpBlock {
    std::string module;  // "model.layers.0.mlp"
    Projection up_proj;  // [F, H], or [gate (F) | up (F)]
    Projection down_proj;
    int64_t intermediate = 0;  // F
    ops::Activation activation = ops::Activation::relu2;

    // x += down · act(up · norm(x))
    void forward(ops::OpContext& context, const Step& step, const Norm& norm, device::Tensor x) const;
    // x += down · act(up · normed)
    void add(ops::OpContext& context, device::Tensor normed, device::Tensor x) const;

private:
    void finish(ops::OpContext& context, device::Tensor up, device::Tensor x) const;
};

}  // namespace nibble::model
