// AttentionBlock: grouped-query attention between its projections, with or without rotary positions.
#pragma once

#include "model/blocks/projection.h"
#include "model/blocks/step.h"

#include <cstdint>
#include <string>

namespace nibble::model {

struct AttentionBlock {
    std::string module;  // "model.layers.0.self_attn"
    Projection qkv_proj, o_proj;
    int64_t heads = 0, kv_heads = 0, head_dim = 0;
    int64_t window = 0;       // keys a query sees; 0: all
    device::Tensor inv_freq;  // [R/2] f32; empty: no positions
    float rope_scale = 1.0f;
    float k_scale = 1.0f, v_scale = 1.0f;  // of an FP8 cache
    int cache = 0;                         // index among the layers that attend

    // x += attention(norm(x))
    void forward(ops::OpContext& context, const Step& step, const Norm& norm, device::Tensor x) const;
};

}  // namespace nibble::model
