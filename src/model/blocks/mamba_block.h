// MambaBlock: the Mamba-2 mixer with its two projections.
#pragma once

#include "model/blocks/projection.h"
#include "model/blocks/step.h"
#include "ops/mamba/mamba.h"

#include <string>

namespace nibble::model {

struct MambaBlock {
    std::string module;  // "backbone.layers.0.mixer"
    Projection in_proj, out_proj;
    ops::MambaArgs mixer;  // weights and sizes; forward fills in what belongs to the step
    int state = 0;         // index among the recurrent layers

    // x += mamba(norm(x))
    void forward(ops::OpContext& context, const Step& step, const Norm& norm, device::Tensor x) const;
};

}  // namespace nibble::model
