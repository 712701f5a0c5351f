// Packing activations with the whole crew, and sharing small loops only when that pays.
#pragma once

#include "ops/linear/rows16.h"
#include "ops/op.h"

#include <algorithm>

namespace nibble::ops {

// body(begin, end) over [0, count), on the crew when `work` (elements touched) is more than waking it costs.
template <class Body>
void share(OpContext& context, int64_t count, int64_t work, const Body& body) {
    constexpr int64_t kWorthSharing = int64_t{1} << 15;
    if (context.threads == nullptr || work < kWorthSharing)
        body(int64_t{0}, count);
    else
        context.threads->parallel_for(count, 1, [&](int64_t begin, int64_t end, int) { body(begin, end); });
}

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
