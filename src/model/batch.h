// Batch: one step's work as a model sees it: T tokens of B sequences, R of whose rows are wanted as logits.
//
// Prefill, decode and draft verification are one path: a sequence's part of a batch is just longer or shorter.
// Tensors are on the model's device; the engine's step owns them.
#pragma once

#include "ops/sequences.h"

namespace nibble::model {

struct Batch {
    device::Tensor tokens;     // [T] i32
    device::Tensor positions;  // [T] i32
    ops::Sequences sequences;
    device::Tensor logit_rows;  // [R] i32 rows of [0, T), increasing; R may be 0
};

}  // namespace nibble::model
