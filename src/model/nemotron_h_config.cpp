#include "model/nemotron_h_config.h"

#include "base/in_quotes.h"

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

namespace nibble::model {
namespace {

using checkpoint::Config;

constexpr int64_t kMostLayers = 4096;
constexpr int64_t kMost =
    int64_t{1} << 24;  // of any width or count: products of three still fit in 64 bits… of two, wide

std::optional<LayerKind> kind_of(std::string_view word) {
    if (word == "M" || word == "mamba" || word == "mamba2" || word == "linear_attention") return LayerKind::mamba;
    if (word == "E" || word == "moe") return LayerKind::moe;
    if (word == "*" || word == "attention" || word == "full_attention") return LayerKind::attention;
    if (word == "-" || word == "mlp") return LayerKind::mlp;
    return std::nullopt;
}

// The order of the layers, by the first list that is there, else by the pattern; num_hidden_layers, which some files
// lack, says nothing more.
Result<std::vector<LayerKind>> read_layers(const Config& config, std::initializer_list<std::string_view> lists,
                                           std::string_view pattern_field) {
    std::string_view field;
    std::vector<std::string> words;
    for (std::string_view list : lists)
        if (field.empty() && config.has(list)) {
            field = list;
            TRY(words, config.string_list(list));
        }
    if (field.empty()) {
        field = pattern_field;
        TRY(const std::string pattern, config.require_string(field));
        for (char c : pattern) words.emplace_back(1, c);
    }
    if (words.empty() || words.size() > static_cast<size_t>(kMostLayers))
        return config.wrong(field, fmt::format("1 to {} layers", kMostLayers));
    std::vector<LayerKind> layers;
    for (const std::string& word : words) {
        const std::optional<LayerKind> kind = kind_of(word);
        if (!kind)
            return error(ErrorCode::model_invalid,
                         "{}: {}: layer {} is {}; expected mamba (M), moe (E), attention (*) or "
                         "mlp (-)",
                         config.file(), field, layers.size(), in_quotes(word));
        layers.push_back(*kind);
    }
    return layers;
}

// The first of a field's spellings that is there.
std::string_view spelling(const Config& config, std::string_view name, std::string_view older) {
    return !config.has(name) && config.has(older) ? older : name;
}

Result<void> require_activation(const Config& config, std::string_view field, std::string_view known,
                                std::string_view also) {
    TRY(const auto given, config.optional_string(field));
    if (given && *given != known && *given != also)
        return error(ErrorCode::unsupported, "{}: {} is {}; \"{}\" is what nibble runs", config.file(), field,
                     in_quotes(*given), known);
    return {};
}

Result<float> read_float(const Config& config, std::string_view field, double otherwise, double min, double max) {
    TRY(const auto given, config.optional_number(field));
    const double value = given.value_or(otherwise);
    if (!(value >= min && value <= max)) return config.wrong(field, fmt::format("a number in [{}, {}]", min, max));
    return static_cast<float>(value);
}

Result<bool> read_bool(const Config& config, std::string_view field, bool otherwise) {
    TRY(const auto given, config.optional_bool(field));
    return given.value_or(otherwise);
}

Result<int64_t> read_int(const Config& config, std::string_view field, int64_t otherwise, int64_t min, int64_t max) {
    TRY(const auto given, config.optional_int(field, min, max));
    return given.value_or(otherwise);
}

// The draft block's sub-layers: one block, and no Mamba in it, whose state could not be taken back.
Result<std::vector<LayerKind>> read_draft_layers(const Config& config) {
    constexpr std::string_view kCount = "num_nextn_predict_layers", kList = "mtp_layers_block_type",
                               kPattern = "mtp_hybrid_override_pattern";
    TRY(const int64_t blocks, read_int(config, kCount, 0, 0, kMostLayers));
    if (blocks == 0)
        return error(ErrorCode::unsupported, "{}: {} is {}: the model has no draft block (mtp)", config.file(), kCount,
                     config.describe(kCount));
    if (blocks > 1)
        return error(ErrorCode::unsupported, "{}: {} is {}; one draft block is what nibble runs", config.file(), kCount,
                     blocks);
    TRY(std::vector<LayerKind> layers, read_layers(config, {kList}, kPattern));
    if (std::find(layers.begin(), layers.end(), LayerKind::mamba) != layers.end())
        return error(ErrorCode::unsupported, "{}: {}: a draft block with a Mamba layer is not run", config.file(),
                     config.has(kList) ? kList : kPattern);
    return layers;
}

Result<void> read_mamba(const Config& config, NemotronHConfig& c) {
    TRY(c.mamba_num_heads, config.require_int("mamba_num_heads", 1, kMost));
    TRY(c.mamba_head_dim, config.require_int("mamba_head_dim", 1, kMost));
    TRY(c.ssm_state_size, config.require_int("ssm_state_size", 1, 65536));
    const std::string_view groups = spelling(config, "n_groups", "mamba_n_groups");
    TRY(c.n_groups, config.require_int(groups, 1, kMost));
    if (c.mamba_num_heads % c.n_groups != 0) return config.wrong(groups, "a divisor of mamba_num_heads");
    if (c.inner() > kMost || c.n_groups * c.ssm_state_size > kMost)
        return config.wrong("mamba_num_heads",
                            fmt::format("heads, groups and sizes whose products are at most {}", kMost));
    TRY(c.conv_kernel, read_int(config, spelling(config, "conv_kernel", "mamba_d_conv"), 4, 2, 64));
    TRY(c.chunk_size, read_int(config, spelling(config, "chunk_size", "mamba_chunk_size"), 128, 1, kMost));
    TRY(c.use_conv_bias, read_bool(config, spelling(config, "use_conv_bias", "mamba_conv_bias"), true));
    TRY(c.use_bias, read_bool(config, "use_bias", false));
    TRY(c.mamba_proj_bias, read_bool(config, "mamba_proj_bias", false));
    const std::string_view limit = spelling(config, "time_step_limit", "mamba_dt_limit");
    if (config.has(limit)) {
        TRY(const std::vector<double> range, config.number_list(limit));
        if (range.size() != 2 || !(range[0] >= 0.0) || !(range[1] > range[0]))
            return config.wrong(limit, "two numbers, the first at least 0 and below the second");
        c.time_step_min_limit = static_cast<float>(range[0]);
        c.time_step_max_limit = static_cast<float>(range[1]);
    }
    return require_activation(config, "mamba_hidden_act", "silu", "swish");
}

Result<void> read_attention(const Config& config, NemotronHConfig& c) {
    TRY(c.num_attention_heads, config.require_int("num_attention_heads", 1, kMost));
    TRY(c.num_key_value_heads, read_int(config, "num_key_value_heads", c.num_attention_heads, 1, kMost));
    if (c.num_attention_heads % c.num_key_value_heads != 0)
        return config.wrong("num_key_value_heads", "a divisor of num_attention_heads");
    // Older files of the family call it attention_head_dim.
    const std::string_view head_dim = spelling(config, "head_dim", "attention_head_dim");
    TRY(c.head_dim, read_int(config, head_dim, 128, 1, kMost));
    if (c.num_attention_heads * c.head_dim > kMost)
        return config.wrong(head_dim, fmt::format("at most {} values in all heads", kMost));
    TRY(c.attention_bias, read_bool(config, "attention_bias", false));
    return {};
}

Result<void> read_moe(const Config& config, NemotronHConfig& c) {
    const std::string_view experts = spelling(config, "n_routed_experts", "num_local_experts");
    TRY(c.n_routed_experts, config.require_int(experts, 1, 65536));
    TRY(c.num_experts_per_tok, config.require_int("num_experts_per_tok", 1, c.n_routed_experts));
    TRY(c.moe_intermediate_size, config.require_int("moe_intermediate_size", 1, kMost));
    TRY(c.n_group, read_int(config, "n_group", 1, 1, c.n_routed_experts));
    if (c.n_routed_experts % c.n_group != 0) return config.wrong("n_group", fmt::format("a divisor of {}", experts));
    TRY(c.topk_group, read_int(config, "topk_group", 1, 1, c.n_group));
    if (c.num_experts_per_tok > c.n_routed_experts / c.n_group * c.topk_group)
        return config.wrong("num_experts_per_tok", "at most the experts of topk_group groups");
    TRY(c.n_shared_experts, read_int(config, "n_shared_experts", 1, 0, kMost));
    if (c.n_shared_experts > 0) {
        TRY(c.moe_shared_expert_intermediate_size, config.require_int("moe_shared_expert_intermediate_size", 1, kMost));
    }
    TRY(c.norm_topk_prob, read_bool(config, "norm_topk_prob", true));
    TRY(c.routed_scaling_factor, read_float(config, "routed_scaling_factor", 1.0, 1e-6, 1e6));
    TRY(const auto latent, config.optional_int("moe_latent_size", 1, kMost));
    if (latent)
        return error(ErrorCode::unsupported,
                     "{}: moe_latent_size is {}; experts that work in a latent space (Nemotron 3 "
                     "Super and Ultra) are not run yet",
                     config.file(), *latent);
    return {};
}

}  // namespace

Result<NemotronHConfig> NemotronHConfig::read(const Config& config, bool draft) {
    NemotronHConfig c;
    TRY(c.layers, read_layers(config, {"layers_block_type", "layer_types"}, "hybrid_override_pattern"));
    if (draft) {
        TRY(c.draft_layers, read_draft_layers(config));
    }
    TRY(c.vocab_size, config.require_int("vocab_size", 1, kMost));
    TRY(c.hidden_size, config.require_int("hidden_size", 1, kMost));
    TRY(c.max_position_embeddings, read_int(config, "max_position_embeddings", 4096, 1, int64_t{1} << 31));
    TRY(c.layer_norm_epsilon, read_float(config, spelling(config, "layer_norm_epsilon", "norm_eps"), 1e-5, 0.0, 1.0));
    TRY(c.tie_word_embeddings, read_bool(config, "tie_word_embeddings", false));
    TRY(c.mlp_bias, read_bool(config, "mlp_bias", false));
    const auto present = [&](LayerKind kind) {
        const auto in = [&](const auto& layers) {
            return std::find(layers.begin(), layers.end(), kind) != layers.end();
        };
        return in(c.layers) || in(c.draft_layers);
    };
    if (present(LayerKind::mamba)) TRY_VOID(read_mamba(config, c));
    if (present(LayerKind::attention)) TRY_VOID(read_attention(config, c));
    if (present(LayerKind::moe)) TRY_VOID(read_moe(config, c));
    if (present(LayerKind::mlp)) {
        TRY(c.intermediate_size, config.require_int("intermediate_size", 1, kMost));
    }
    if (present(LayerKind::mlp) || present(LayerKind::moe))
        TRY_VOID(require_activation(config, "mlp_hidden_act", "relu2", "relu2"));
    return c;
}

}  // namespace nibble::model
