// NemotronHConfig: what the nemotron_h family reads from config.json, checked.
//
// Field names are the file's. What transformers reads and does not use is not read here either: docs/models.md lists
// it.
#pragma once

#include "base/result.h"
#include "checkpoint/config.h"

#include <cstdint>
#include <limits>
#include <vector>

namespace nibble::model {

enum class LayerKind : uint8_t { mamba, moe, attention, mlp };

struct NemotronHConfig {
    std::vector<LayerKind> layers;
    std::vector<LayerKind> draft_layers;  // of the draft block; read when it is asked for
    int64_t vocab_size = 0, hidden_size = 0, max_position_embeddings = 0;
    float layer_norm_epsilon = 1e-5f;
    bool tie_word_embeddings = false;

    int64_t mamba_num_heads = 0, mamba_head_dim = 0, n_groups = 0, ssm_state_size = 0, conv_kernel = 0, chunk_size = 0;
    float time_step_min_limit = 0.0f, time_step_max_limit = std::numeric_limits<float>::infinity();
    bool use_conv_bias = true, use_bias = false, mamba_proj_bias = false;

    int64_t num_attention_heads = 0, num_key_value_heads = 0, head_dim = 0;
    bool attention_bias = false;

    int64_t intermediate_size = 0;
    bool mlp_bias = false;

    int64_t n_routed_experts = 0, num_experts_per_tok = 0, moe_intermediate_size = 0, n_group = 1, topk_group = 1;
    int64_t n_shared_experts = 1, moe_shared_expert_intermediate_size = 0;
    bool norm_topk_prob = true;
    float routed_scaling_factor = 1.0f;

    int64_t inner() const { return mamba_num_heads * mamba_head_dim; }                 // I
    int64_t conv_channels() const { return inner() + 2 * n_groups * ssm_state_size; }  // C

    // Errors: model_invalid naming the field; unsupported for latent experts, activations other than silu and relu²,
    // and a draft block that is asked for and not there, or not one that can be run.
    static Result<NemotronHConfig> read(const checkpoint::Config& config, bool draft = false);
};

}  // namespace nibble::model
