// The two ends of a language model: tokens to the residual stream, and the stream to logits.
#pragma once

#include "model/blocks/projection.h"
#include "model/blocks/step.h"
#include "ops/embed/embed.h"

#include <string>

namespace nibble::model {

struct Embedding {
    std::string module;
    device::Tensor table;  // [V, H]

    device::Tensor forward(ops::OpContext& context, const Step& step) const;  // [T, H] of the residual stream
};

struct Head {
    std::string module;
    Norm norm;
    Projection lm_head;  // [V, H]

    // Of the rows asked for: logits [R, V] f32 = lm_head · norm(x[logit_rows]). Of all rows, where `hidden` [T, H] is
    // given: norm(x).
    void forward(ops::OpContext& context, const Step& step, device::Tensor x, device::Tensor logits,
                 device::Tensor hidden) const {
        forward(context, step, norm, x, logits, hidden);
    }
    // With another norm in front of it.
    void forward(ops::OpContext& context, const Step& step, const Norm& its, device::Tensor x, device::Tensor logits,
                 device::Tensor hidden) const;
};

}  // namespace nibble::model
