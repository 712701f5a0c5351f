// The CPU rows of rope, for its table.
#pragma once

#include "ops/rope/rope.h"

namespace nibble::ops {

void rope_simd(OpContext&, const RopeArgs&);
void rope_ref(OpContext&, const RopeArgs&);

}  // namespace nibble::ops
