// The CPU rows of op linear on cpu_rows16 weights: pack the activations, then every worker takes a range of row blocks.
//
// Weights are read once while tokens fit one block, and stay in the L2 cache for as many blocks of tokens as there are.
#include "ops/linear/finish.h"
#include "ops/linear/linear.h"
#include "ops/linear/panel.h"
#include "ops/linear/rows16.h"
#include "ops/norm/norm_row.h"

#include <algorithm>

namespace nibble::ops {
namespace {

constexpr int64_t kChunkBytes = int64_t{256} << 10;  // of weights, kept in L2 while the tokens pass
constexpr int64_t kMaxChunkBlocks = 8;

void run(OpContext& context, const LinearArgs& a, const RowKernel& kernel) {
    const int64_t tokens = a.x.dim(0), n = a.weight.n, k = a.weight.k;
    Tensor x = a.x;
    if (!a.norm_weight.empty()) {
        x = context.allocate(a.x.dtype(), {tokens, k});
        share(context, tokens, tokens * k, [&](int64_t begin, int64_t end) {
            for (int64_t t = begin; t < end; ++t)
                rms_norm_row(a.x.row(t), nullptr, a.norm_weight, false, a.norm_eps, x.dtype(), x.dtype(), x.row(t));
        });
    }
    const TokenBlocks blocks(kernel, k, tokens);
    std::byte* panel = context.arena->allocate_bytes(blocks.panel_bytes());
    pack_panel(context, kernel, blocks, x, nullptr, panel);

    const int64_t block_bytes = rows16_block_bytes(a.weight.format, k);
    const int64_t chunk = std::clamp<int64_t>(kChunkBytes / std::max<int64_t>(block_bytes, 1), 1, kMaxChunkBlocks);
    const auto multiply = [&](int64_t begin, int64_t end, int) {
        alignas(64) float sums[kMaxTokenBlock * kMaxChunkBlocks * kBlockRows];
        const int64_t stride = chunk * kBlockRows;
        for (int64_t b = begin; b < end; b += chunk) {
            const int64_t stop = std::min(b + chunk, end), first = b * kBlockRows;
            const int64_t rows = std::min(stop * kBlockRows, n) - first;
            for (int64_t i = 0; i < blocks.count; ++i) {
                kernel.multiply(a.weight, b, stop, panel + i * blocks.block_bytes, blocks.width, sums, stride);
                for (int64_t t = blocks.begin(i); t < blocks.end(i); ++t)
                    finish_row(sums + (t - blocks.begin(i)) * stride, rows, first, a.bias, a.residual, a.y, t);
            }
        }
    };
    if (context.threads != nullptr)
        context.threads->parallel_for(row_blocks(n), 1, multiply);
    else
        multiply(0, row_blocks(n), 0);
}

int64_t scratch(const LinearArgs& a, const RowKernel& kernel) {
    const int64_t norm = a.norm_weight.empty() ? 0 : round_up(a.x.dim(0) * a.x.dim(1) * 4, 256);
    return norm + round_up(TokenBlocks(kernel, a.weight.k, a.x.dim(0)).panel_bytes(), 256);
}

}  // namespace

bool accepts_linear_avx512_bf16(const LinearArgs& a, const device::Device&) {
    return a.weight.layout == WeightLayout::cpu_rows16 && a.weight.format != WeightFormat::f32 &&
           a.x.dtype() == DType::bf16 && rows16_avx512_bf16() != nullptr;
}
int64_t scratch_linear_avx512_bf16(const LinearArgs& a, const device::Device&) {
    return scratch(a, *rows16_avx512_bf16());
}
void linear_avx512_bf16(OpContext& context, const LinearArgs& a) {
    run(context, a, *rows16_avx512_bf16());
}

bool accepts_linear_simd(const LinearArgs& a, const device::Device&) {
    return a.weight.layout == WeightLayout::cpu_rows16;
}
int64_t scratch_linear_simd(const LinearArgs& a, const device::Device&) {
    return scratch(a, *rows16_simd());
}
void linear_simd(OpContext& context, const LinearArgs& a) {
    run(context, a, *rows16_simd());
}

}  // namespace nibble::ops
