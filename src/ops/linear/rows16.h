// RowKernel: one way of multiplying blocks of a cpu_rows16 weight by a few tokens. Ops linear and moe are built on it.
//
// Activations are first packed into a panel: the tokens in blocks of `width` columns (the last ones zero where there
// are fewer tokens), K slowest inside a block. A kernel then multiplies any range of row blocks by one token block,
// from any thread. The sums of a (row, token) are made in an order that depends on the weight's format and K alone, so
// neither the other tokens, nor the width, nor the split over threads is seen in a result.
#pragma once

#include "ops/linear/cpu_layout.h"
#include "ops/weight.h"

#include <cstddef>
#include <cstdint>

namespace nibble::ops {

using device::DType;
using device::Tensor;

inline constexpr int64_t kMaxTokenBlock = 16;  // no kernel's blocks are wider

struct RowKernel {
    const char* name;
    int64_t max_width;  // tokens a block, <= kMaxTokenBlock
    // The narrowest block of at least `tokens` columns.
    int64_t (*width)(int64_t tokens);
    // Bytes of one block of a panel.
    int64_t (*panel_block_bytes)(int64_t k, int64_t width);
    // Columns of one block for k in [k_begin, k_end), multiples of 64 except that k_end may be K (then the padding
    // after it is filled too). Column i is row rows[i] of x, or row i when rows is null.
    void (*pack)(const Tensor& x, const int32_t* rows, int64_t tokens, int64_t width, int64_t k_begin, int64_t k_end,
                 std::byte* block);
    // sums[i * stride + (b - begin) * 16 + r] = row 16 b + r of weight (all scales applied) times column i, for the row
    // blocks [begin, end) and every i < width.
    void (*multiply)(const Weight& weight, int64_t begin, int64_t end, const std::byte* block, int64_t width,
                     float* sums, int64_t stride);
};

// bfloat16 products with float32 sums by AVX-512 BF16; null where the processor or the build lacks it.
// bf16 activations; bf16, fp8 and nvfp4 weights.
const RowKernel* rows16_avx512_bf16();
// float32 products and sums, whatever SIMD there is. bf16 and f32 activations; every format.
const RowKernel* rows16_simd();

// How T tokens are cut into a panel's blocks: equal parts, all of one width.
struct TokenBlocks {
    int64_t tokens = 0, count = 0, width = 0, block_bytes = 0;

    TokenBlocks() = default;
    TokenBlocks(const RowKernel& kernel, int64_t k, int64_t tokens)
        : tokens(tokens), count((tokens + kernel.max_width - 1) / kernel.max_width) {
        if (count == 0) return;
        width = kernel.width((tokens + count - 1) / count);
        block_bytes = kernel.panel_block_bytes(k, width);
    }
    int64_t begin(int64_t block) const { return tokens * block / count; }
    int64_t end(int64_t block) const { return tokens * (block + 1) / count; }
    int64_t panel_bytes() const { return count * block_bytes; }
};

}  // namespace nibble::ops
