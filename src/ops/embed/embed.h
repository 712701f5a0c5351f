// embed: y[t] = table[tokens[t]] · scale.  gather_rows: y[r] = x[rows[r]].
#pragma once

#include "ops/op.h"
#include "ops/weight.h"

namespace nibble::ops {

struct EmbedArgs {
    Tensor tokens;       // [T] i32, each in [0, V)
    Tensor table;        // [V, H] bf16 or f32, row-major
    Tensor y;            // [T, H] bf16 or f32
    float scale = 1.0f;  // Gemma multiplies by sqrt(H)
};
void embed(OpContext&, const EmbedArgs&);
extern const Op<EmbedArgs> kEmbed;

struct GatherRowsArgs {
    Tensor x;     // [T, H]
    Tensor rows;  // [R] i32, each in [0, T)
    Tensor y;     // [R, H] as x
};
void gather_rows(OpContext&, const GatherRowsArgs&);
extern const Op<GatherRowsArgs> kGatherRows;

}  // namespace nibble::ops
