#include "model/llama.h"

#include "model/blocks/rotary.h"
#include "model/family.h"

namespace nibble::model {

using device::Tensor;

void Llama::forward(ops::OpContext& context, const Batch& batch, const State& state, Tensor logits,
                    Tensor hidden) const {
    device::ArenaScope arena(*context.arena);
    const Step step{batch, state};
    Tensor x = embed_tokens_.forward(context, step);  // [T, H], the residual stream
    for (const Layer& layer : layers_) {
        layer.self_attn.forward(context, step, layer.input_layernorm, x);     // x += attention(norm(x))
        layer.mlp.forward(context, step, layer.post_attention_layernorm, x);  // x += mlp(norm(x))
    }
    head_.forward(context, step, x, logits, hidden);
}

Result<std::unique_ptr<Model>> Llama::load(std::shared_ptr<const checkpoint::Checkpoint> checkpoint,
                                           const device::Device& device, const LoadOptions& options,
                                           std::string model_type) {
    TRY(const LlamaConfig config, LlamaConfig::read(checkpoint->config(), std::move(model_type)));
    TRY(const Rotary rotary, read_rotary(checkpoint->config(), config.head_dim, config.max_position_embeddings));
    auto model = std::make_unique<Llama>();
    TRY(model->spec_, read_spec(*checkpoint, options));
    model->spec_.family = "llama";
    model->spec_.vocab_size = config.vocab_size;
    model->spec_.hidden_size = config.hidden_size;
    model->spec_.layers = config.num_hidden_layers;
    model->spec_.max_context = rotary.max_context;
    model->spec_.state.attention.assign(static_cast<size_t>(config.num_hidden_layers),
                                        {.kv_heads = config.num_key_value_heads, .head_dim = config.head_dim});

    Loader loader(checkpoint, device, options, {{"model.", ""}, {"model.", "language_model.model."}});
    loader.ignore("*rotary_emb.inv_freq");  // older files carry what the config says
    loader.constant(rotary.inv_freq, model->inv_freq_);
    TRY_VOID(model->declare(loader, config, rotary.scale));
    TRY(model->storage_, loader.finish());
    for (Layer& layer : model->layers_) layer.self_attn.inv_freq = model->inv_freq_;
    model->spec_.weight_bytes = model->storage_.bytes;
    return std::unique_ptr<Model>(std::move(model));
}

Result<void> Llama::declare(Loader& loader, const LlamaConfig& config, float rope_scale) {
    const int64_t hidden = config.hidden_size, intermediate = config.intermediate_size;
    TRY_VOID(declare_ends(loader,
                          {.embedding = "model.embed_tokens",
                           .head = "lm_head",
                           .norm = "model.norm",
                           .vocab_size = config.vocab_size,
                           .hidden_size = hidden,
                           .tied = config.tie_word_embeddings,
                           .eps = config.rms_norm_eps},
                          embed_tokens_, head_));
    layers_.resize(static_cast<size_t>(config.num_hidden_layers));
    for (size_t i = 0; i < layers_.size(); ++i) {
        Layer& layer = layers_[i];
        const std::string prefix = fmt::format("model.layers.{}", i);
        for (auto& [norm, name] : {std::pair{&layer.input_layernorm, ".input_layernorm"},
                                   std::pair{&layer.post_attention_layernorm, ".post_attention_layernorm"}}) {
            norm->module = prefix + name;
            norm->eps = config.rms_norm_eps;
            TRY_VOID(loader.vector({.name = norm->module + ".weight", .shape = {hidden}, .of_activations = true},
                                   norm->weight));
        }

        AttentionBlock& attention = layer.self_attn;
        attention.heads = config.num_attention_heads;
        attention.kv_heads = config.num_key_value_heads;
        attention.head_dim = config.head_dim;
        attention.window = config.window[i];
        attention.rope_scale = rope_scale;
        attention.cache = static_cast<int>(i);
        TRY_VOID(declare_qkvo(loader, prefix + ".self_attn", hidden, config.qkv_bias, config.o_bias, attention));

        MlpBlock& mlp = layer.mlp;
        mlp.intermediate = intermediate;
        mlp.activation = ops::Activation::swiglu;
        TRY_VOID(loader.projection(prefix + ".mlp", {{"gate_proj", intermediate}, {"up_proj", intermediate}}, hidden,
                                   config.mlp_bias, mlp.up_proj));
        TRY_VOID(
            loader.projection(prefix + ".mlp", {{"down_proj", hidden}}, intermediate, config.mlp_bias, mlp.down_proj));
        mlp.module = parent(mlp.down_proj.parts.front().name);
    }
    return {};
}

}  // namespace nibble::model
