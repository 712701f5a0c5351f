// MoeBlock: a routed mixture of experts with what every token shares.
#pragma once

#include "model/blocks/mlp_block.h"
#include "model/blocks/step.h"
#include "ops/moe/moe.h"

#include <optional>
#include <string>

namespace nibble::model {

struct MoeBlock {
    std::string module;                     // "backbone.layers.1.mixer"
    ops::MoeArgs mixer;                     // weights and sizes; forward fills in what belongs to the step
    std::optional<MlpBlock> biased_shared;  // a shared expert with biases, which ops::moe has no place for

    // x += moe(norm(x))
    void forward(ops::OpContext& context, const Step& step, const Norm& norm, device::Tensor x) const;
};

}  // namespace nibble::model
