// Step: what every block's forward is given beside its input.
#pragma once

#include "model/batch.h"
#include "model/state.h"

namespace nibble::model {

struct Step {
    const Batch& batch;
    const State& state;
};

}  // namespace nibble::model
