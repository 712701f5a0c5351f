#include "model/blocks/attention_block.h"

#include "ops/attention/attention.h"
#include "ops/rope/rope.h"

#include <cmath>

namespace nibble::model {

using device::Tensor;

void AttentionBlock::forward(ops::OpContext& context, const Step& step, const Norm& norm, Tensor x) const {
    ops::ModuleScope scope(context, module);
    device::ArenaScope arena(*context.arena);
    const int64_t tokens = x.dim(0), q_width = heads * head_dim, kv_width = kv_heads * head_dim;

    Tensor qkv = context.allocate(context.activation, {tokens, q_width + 2 * kv_width});
    qkv_proj.forward(context, norm, x, qkv);
    Tensor q = qkv.columns(0, q_width), k = qkv.columns(q_width, q_width + kv_width);
    Tensor v = qkv.columns(q_width + kv_width, q_width + 2 * kv_width);
    if (!inv_freq.empty()) {
        const Tensor& positions = step.batch.positions;
        ops::rope(context, {.x = q,
                            .positions = positions,
                            .inv_freq = inv_freq,
                            .heads = heads,
                            .head_dim = head_dim,
                            .scale = rope_scale});
        ops::rope(context, {.x = k,
                            .positions = positions,
                            .inv_freq = inv_freq,
                            .heads = kv_heads,
                            .head_dim = head_dim,
                            .scale = rope_scale});
    }
    Tensor out = context.allocate(context.activation, {tokens, q_width});
    ops::attention(context, {.q = q,
                             .k = k,
                             .v = v,
                             .k_pages = step.state.k_pages(cache),
                             .v_pages = step.state.v_pages(cache),
                             .out = out,
                             .sequences = step.batch.sequences,
                             .query_heads = heads,
                             .kv_heads = kv_heads,
                             .head_dim = head_dim,
                             .scale = 1.0f / std::sqrt(static_cast<float>(head_dim)),
                             .window = window,
                             .k_scale = k_scale,
                             .v_scale = v_scale});
    o_proj.forward(context, out, x, x);
}

}  // namespace nibble::model
