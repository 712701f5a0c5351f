// Llama: the dense family of llama, mistral and qwen2: attention with rotary positions, then a SwiGLU MLP.
//
// Source: transformers' llama, mistral and qwen2; docs/models.md says where nibble differs.
#pragma once

#include "model/blocks/attention_block.h"
#include "model/blocks/ends.h"
#include "model/blocks/mlp_block.h"
#include "model/loader.h"
#include "model/model.h"

#include <memory>
#include <vector>

namespace nibble::model {

struct LlamaConfig {
    std::string model_type;  // "llama", "mistral", "qwen2"
    int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0, num_hidden_layers = 0;
    int64_t num_attention_heads = 0, num_key_value_heads = 0, head_dim = 0, max_position_embeddings = 0;
    float rms_norm_eps = 1e-6f;
    bool tie_word_embeddings = false;
    Bias qkv_bias = Bias::none, o_bias = Bias::none, mlp_bias = Bias::none;
    std::vector<int64_t> window;  // one a layer: keys a query sees, 0: all

    // Errors: model_invalid naming the field; unsupported for an activation other than silu.
    static Result<LlamaConfig> read(const checkpoint::Config& config, std::string model_type);
};

class Llama final : public Model {
public:
    static Result<std::unique_ptr<Model>> load(std::shared_ptr<const checkpoint::Checkpoint> checkpoint,
                                               const device::Device& device, const LoadOptions& options,
                                               std::string model_type);

    void forward(ops::OpContext& context, const Batch& batch, const State& state, device::Tensor logits,
                 device::Tensor hidden) const override;

private:
    struct Layer {
        Norm input_layernorm;
        AttentionBlock self_attn;
        Norm post_attention_layernorm;
        MlpBlock mlp;
    };

    Result<void> declare(Loader& loader, const LlamaConfig& config, float rope_scale);

    Embedding embed_tokens_;
    device::Tensor inv_freq_;
    std::vector<Layer> layers_;
    Head head_;
    Storage storage_;
};

}  // namespace nibble::model
