// Packing activations with the whole crew.
#pragma once

#include "ops/crew.h"
#include "ops/linear/rows16.h"

#include <algorithm>

namespace nibble::ops {

// All blocks of a panel, panel_bytes of memory, from the rows of x named by `rows` (or all when null).
inline void pack_panel(OpContext& context, const RowKernel& kernel, const TokenBlocks& blocks, const Tensor& x,
                       const int32_t* rows, std::byte* panel) {
    constexpr int64_t kPieceK = 512;
    const int64_t k = x.dim(1), pieces = (k + kPieceK - 1) / kPieceK;
    share(context, blocks.count * pieces, blocks.tokens * k, [&](int64_t begin, int64_t end) {
        for (int64_t unit = begin; unit < end; ++unit) {
            const int64_t i = unit / pieces, k_begin = unit % pieces * kPieceK, first = blocks.begin(i);
            const Tensor part = rows != nullptr ? x : x.rows(first, blocks.end(i));
            kernel.pack(part, rows != nullptr ? rows + first : nullptr, blocks.end(i) - first, blocks.width, k_begin,
                        std::min(k_begin + kPieceK, k), panel + i * blocks.block_bytes);
        }
    });
}

}  // namespace nibble::ops
