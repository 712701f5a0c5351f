#include "model/nemotron_h.h"

#include "model/family.h"

namespace nibble::model {

using device::Tensor;

void NemotronH::forward(ops::OpContext& context, const Batch& batch, const State& state, Tensor logits,
                        Tensor hidden) const {
    device::ArenaScope arena(*context.arena);
    const Step step{batch, state};
    Tensor x = embeddings_.forward(context, step);  // [T, H], the residual stream
    for (const Layer& layer : layers_)              // x += mixer(norm(x))
        std::visit([&](const auto& mixer) { mixer.forward(context, step, layer.norm, x); }, layer.mixer);
    head_.forward(context, step, x, logits, hidden);
}

void NemotronH::forward_draft(ops::OpContext& context, const Batch& batch, const State& state, Tensor hidden,
                              Tensor logits, Tensor next_hidden) const {
    device::ArenaScope arena(*context.arena);
    const Step step{batch, state};
    const int64_t tokens = hidden.dim(0), width = hidden.dim(1);
    Tensor both = context.allocate(context.activation, {tokens, 2 * width});  // [T, 2H]
    draft_.enorm.forward(context, embeddings_.forward(context, step), both.columns(0, width));
    draft_.hnorm.forward(context, hidden, both.columns(width, 2 * width));
    Tensor u = context.allocate(context.residual(), {tokens, width});
    draft_.eh_proj.forward(context, both, u);
    for (const Layer& layer : draft_.layers)  // u += mixer(norm(u))
        std::visit([&](const auto& mixer) { mixer.forward(context, step, layer.norm, u); }, layer.mixer);
    head_.forward(context, step, draft_.final_layernorm, u, logits, next_hidden);
}

Result<std::unique_ptr<Model>> NemotronH::load(std::shared_ptr<const checkpoint::Checkpoint> checkpoint,
                                               const device::Device& device, const LoadOptions& options) {
    TRY(const NemotronHConfig config, NemotronHConfig::read(checkpoint->config(), options.draft));
    auto model = std::make_unique<NemotronH>();
    TRY(model->spec_, read_spec(*checkpoint, options));
    model->spec_.family = "nemotron_h";
    model->spec_.vocab_size = config.vocab_size;
    model->spec_.hidden_size = config.hidden_size;
    model->spec_.layers = static_cast<int64_t>(config.layers.size());
    model->spec_.max_context = config.max_position_embeddings;

    Loader loader(checkpoint, device, options, {{"backbone.", "model."}});
    TRY_VOID(model->declare(loader, config));
    if (options.draft) {
        TRY_VOID(model->declare_draft(loader, config));
    } else {
        loader.ignore("mtp.*");  // as transformers does
    }
    model->spec_.drafts = options.draft;
    TRY(model->storage_, loader.finish());
    model->spec_.weight_bytes = model->storage_.bytes;
    return std::unique_ptr<Model>(std::move(model));
}

Result<void> NemotronH::declare(Loader& loader, const NemotronHConfig& config) {
    const int64_t hidden = config.hidden_size;
    TRY_VOID(declare_ends(loader,
                          {.embedding = "backbone.embeddings",
                           .head = "lm_head",
                           .norm = "backbone.norm_f",
                           .vocab_size = config.vocab_size,
                           .hidden_size = hidden,
                           .tied = config.tie_word_embeddings,
                           .eps = config.layer_norm_epsilon},
                          embeddings_, head_));
    layers_.resize(config.layers.size());
    for (size_t i = 0; i < layers_.size(); ++i)
        TRY_VOID(declare_layer(loader, fmt::format("backbone.layers.{}", i), config.layers[i], config, layers_[i]));
    return {};
}

Result<void> NemotronH::declare_layer(Loader& loader, const std::string& prefix, LayerKind kind,
                                      const NemotronHConfig& config, Layer& layer) {
    const std::string mixer = prefix + ".mixer";
    TRY_VOID(declare_norm(loader, prefix + ".norm", config, layer.norm));
    switch (kind) {
        case LayerKind::mamba: {
            auto& mamba = layer.mixer.emplace<MambaBlock>();
            mamba.state = static_cast<int>(spec_.state.recurrent.size());
            spec_.state.recurrent.push_back({.conv_channels = config.conv_channels(),
                                             .conv_columns = config.conv_kernel - 1,
                                             .heads = config.mamba_num_heads,
                                             .head_dim = config.mamba_head_dim,
                                             .state_size = config.ssm_state_size});
            return declare_mamba(loader, mixer, config, mamba);
        }
        case LayerKind::moe:
            return declare_moe(loader, mixer, config, layer.mixer.emplace<MoeBlock>());
        case LayerKind::attention: {
            auto& attention = layer.mixer.emplace<AttentionBlock>();
            attention.cache = static_cast<int>(spec_.state.attention.size());
            spec_.state.attention.push_back({.kv_heads = config.num_key_value_heads, .head_dim = config.head_dim});
            return declare_attention(loader, mixer, config, attention);
        }
        case LayerKind::mlp:
            break;
    }
    return declare_mlp(loader, mixer, config.hidden_size, config.intermediate_size,
                       config.mlp_bias ? Bias::required : Bias::none, layer.mixer.emplace<MlpBlock>());
}

// The block's first sub-layer carries what leads into it, its last what leads out.
Result<void> NemotronH::declare_draft(Loader& loader, const NemotronHConfig& config) {
    const int64_t hidden = config.hidden_size;
    const std::string first = "mtp.layers.0", last = fmt::format("mtp.layers.{}", config.draft_layers.size() - 1);
    TRY_VOID(declare_norm(loader, first + ".enorm", config, draft_.enorm));
    TRY_VOID(declare_norm(loader, first + ".hnorm", config, draft_.hnorm));
    TRY_VOID(loader.projection(first, {{"eh_proj", hidden}}, 2 * hidden, Bias::none, draft_.eh_proj));
    draft_.layers.resize(config.draft_layers.size());
    for (size_t i = 0; i < draft_.layers.size(); ++i)
        TRY_VOID(
            declare_layer(loader, fmt::format("mtp.layers.{}", i), config.draft_layers[i], config, draft_.layers[i]));
    return declare_norm(loader, last + ".final_layernorm", config, draft_.final_layernorm);
}

Result<void> NemotronH::declare_norm(Loader& loader, const std::string& module, const NemotronHConfig& config,
                                     Norm& norm) {
    norm.module = module;
    norm.eps = config.layer_norm_epsilon;
    return loader.vector({.name = module + ".weight", .shape = {config.hidden_size}, .of_activations = true},
                         norm.weight);
}

Result<void> NemotronH::declare_mamba(Loader& loader, const std::string& prefix, const NemotronHConfig& config,
                                      MambaBlock& block) {
    const int64_t heads = config.mamba_num_heads, inner = config.inner(), channels = config.conv_channels();
    const Bias bias = config.use_bias ? Bias::required : config.mamba_proj_bias ? Bias::allowed : Bias::none;
    TRY_VOID(
        loader.projection(prefix, {{"in_proj", inner + channels + heads}}, config.hidden_size, bias, block.in_proj));
    TRY_VOID(loader.projection(prefix, {{"out_proj", config.hidden_size}}, inner, bias, block.out_proj));
    block.module = parent(block.in_proj.parts.front().name);

    ops::MambaArgs& m = block.mixer;
    TRY_VOID(loader.vector({.name = prefix + ".conv1d.weight",
                            .shape = {channels, 1, config.conv_kernel},
                            .seen = {channels, config.conv_kernel},
                            .random = RandomValues::conv},
                           m.conv_weight));
    if (config.use_conv_bias)
        TRY_VOID(loader.vector({.name = prefix + ".conv1d.bias", .shape = {channels}, .random = RandomValues::zeros},
                               m.conv_bias));
    TRY_VOID(loader.vector({.name = prefix + ".A_log", .shape = {heads}, .random = RandomValues::a_log}, m.a_log));
    TRY_VOID(loader.vector({.name = prefix + ".D", .shape = {heads}}, m.d));
    TRY_VOID(
        loader.vector({.name = prefix + ".dt_bias", .shape = {heads}, .random = RandomValues::dt_bias}, m.dt_bias));
    TRY_VOID(loader.vector({.name = prefix + ".norm.weight", .shape = {inner}}, m.norm_weight));
    m.heads = heads;
    m.head_dim = config.mamba_head_dim;
    m.groups = config.n_groups;
    m.state_size = config.ssm_state_size;
    m.conv_kernel = config.conv_kernel;
    m.eps = config.layer_norm_epsilon;
    m.dt_min = config.time_step_min_limit;
    m.dt_max = config.time_step_max_limit;
    m.chunk = config.chunk_size;
    return {};
}

Result<void> NemotronH::declare_moe(Loader& loader, const std::string& prefix, const NemotronHConfig& config,
                                    MoeBlock& block) {
    const int64_t hidden = config.hidden_size, experts = config.n_routed_experts;
    ops::MoeArgs& m = block.mixer;
    TRY_VOID(loader.router(prefix + ".gate", experts, hidden, m.router));
    block.module = parent(m.router.name);
    TRY_VOID(loader.vector(
        {.name = prefix + ".gate.e_score_correction_bias", .shape = {experts}, .random = RandomValues::zeros},
        m.correction_bias));
    const std::string routed = prefix + ".experts", shared = prefix + ".shared_experts";
    TRY_VOID(loader.experts(routed, "up_proj", experts, config.moe_intermediate_size, hidden, m.up));
    TRY_VOID(loader.experts(routed, "down_proj", experts, hidden, config.moe_intermediate_size, m.down));
    if (config.n_shared_experts > 0) {
        const int64_t width = config.moe_shared_expert_intermediate_size;
        if (config.mlp_bias) {
            TRY_VOID(declare_mlp(loader, shared, hidden, width, Bias::required, block.biased_shared.emplace()));
        } else {
            TRY_VOID(loader.matrix(shared + ".up_proj", width, hidden, m.shared_up));
            TRY_VOID(loader.matrix(shared + ".down_proj", hidden, width, m.shared_down));
        }
    }
    m.top_k = config.num_experts_per_tok;
    m.expert_groups = config.n_group;
    m.top_groups = config.topk_group;
    m.score = ops::RouterScore::sigmoid;
    m.normalize = config.norm_topk_prob;
    m.routed_scale = config.routed_scaling_factor;
    m.activation = ops::Activation::relu2;
    return {};
}

Result<void> NemotronH::declare_attention(Loader& loader, const std::string& prefix, const NemotronHConfig& config,
                                          AttentionBlock& block) {
    block.heads = config.num_attention_heads;
    block.kv_heads = config.num_key_value_heads;
    block.head_dim = config.head_dim;
    return declare_qkvo(loader, prefix, config.hidden_size, config.attention_bias ? Bias::allowed : Bias::none,
                        config.attention_bias ? Bias::allowed : Bias::none, block);
}

Result<void> NemotronH::declare_mlp(Loader& loader, const std::string& prefix, int64_t hidden, int64_t intermediate,
                                    Bias bias, MlpBlock& block) {
    block.intermediate = intermediate;
    block.activation = ops::Activation::relu2;
    TRY_VOID(loader.projection(prefix, {{"up_proj", intermediate}}, hidden, bias, block.up_proj));
    TRY_VOID(loader.projection(prefix, {{"down_proj", hidden}}, intermediate, bias, block.down_proj));
    block.module = parent(block.up_proj.parts.front().name);
    return {};
}

}  // namespace nibble::model
