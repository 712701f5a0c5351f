// Projection: matrices that read the same input, side by side: y = [W1·x + b1 | W2·x + b2 | …] (+ residual).
#pragma once

#include "model/blocks/norm.h"
#include "ops/linear/linear.h"

#include <vector>

namespace nibble::model {

// Whether a bias tensor belongs to a projection. `allowed`: used when the checkpoint has it.
enum class Bias : uint8_t { none, allowed, required };

struct Projection {
    std::vector<ops::Weight> parts;  // one when they lie in memory as one matrix
    device::Tensor bias;             // [n] f32, or empty
    int64_t n = 0;                   // rows of all parts

    // x [T, K] -> y [T, n]; residual as in ops/linear/linear.h.
    void forward(ops::OpContext& context, device::Tensor x, device::Tensor y, device::Tensor residual = {}) const;
    // The same of norm(x).
    void forward(ops::OpContext& context, const Norm& norm, device::Tensor x, device::Tensor y) const;
};

}  // namespace nibble::model
