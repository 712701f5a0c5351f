// Oracles of ops embed and gather_rows.
#include "ops/element.h"
#include "ops/embed/embed.h"

#include <cstring>

namespace nibble::ops {

void embed_ref(OpContext& context, const EmbedArgs& a) {
    for_each(context, a.tokens.elements(), [&](int64_t t) {
        const int32_t token = a.tokens.as<int32_t>()[t];
        CHECK(token >= 0 && token < a.table.dim(0), "token {} of a vocabulary of {}", token, a.table.dim(0));
        for (int64_t i = 0; i < a.table.dim(1); ++i)
            put(a.y.row(t), a.y.dtype(), i, get(a.table.row(token), a.table.dtype(), i) * a.scale);
    });
}

void gather_rows_ref(OpContext& context, const GatherRowsArgs& a) {
    for_each(context, a.rows.elements(), [&](int64_t r) {
        const int32_t row = a.rows.as<int32_t>()[r];
        CHECK(row >= 0 && row < a.x.dim(0), "row {} of {}", row, a.x.dim(0));
        std::memcpy(a.y.row(r), a.x.row(row), static_cast<size_t>(a.x.dim(1) * numeric::size_bytes(a.x.dtype())));
    });
}

}  // namespace nibble::ops
