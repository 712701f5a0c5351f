// The CPU rows of embed and gather_rows, for their tables.
#pragma once

#include "ops/embed/embed.h"

namespace nibble::ops {

void embed_simd(OpContext&, const EmbedArgs&);
void embed_ref(OpContext&, const EmbedArgs&);

void gather_rows_copy(OpContext&, const GatherRowsArgs&);
void gather_rows_ref(OpContext&, const GatherRowsArgs&);

}  // namespace nibble::ops
