// InputObserver: sees what matrices are multiplied with, for calibration. None is set when a model serves: an op then
// pays one load and one branch.
//
// Named by a step's OpContext; called on the thread that runs the step, before the op runs, on the CPU alone. Routed
// experts are seen by the name of all of them, with the tokens of all of them; what is between their up and down is
// never seen.
#pragma once

#include "ops/op.h"

#include <span>
#include <string_view>

namespace nibble::ops {

class InputObserver {
public:
    virtual ~InputObserver() = default;
    // One row of x [K] as the matrix reads it: normalised, in float32. module: the checkpoint's name of the weight, of
    // several that are one matrix in memory the first one's.
    virtual void see(std::string_view module, std::span<const float> x) = 0;
};

// For ops: shows the rows of x (rms_norm(x, norm_weight, eps) where that is given) to the context's observer, if any.
void observe_input(const OpContext& context, std::string_view module, const Tensor& x, const Tensor& norm_weight,
                   float norm_eps);

}  // namespace nibble::ops
