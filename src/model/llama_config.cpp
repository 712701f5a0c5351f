// LlamaConfig: what the llama family reads from config.json, checked.
#include "base/in_quotes.h"
#include "model/llama.h"

#include <algorithm>

namespace nibble::model {
namespace {

using checkpoint::Config;

constexpr int64_t kMost = int64_t{1} << 24;  // of any width or count

// How many keys each layer's queries see.
Result<std::vector<int64_t>> read_window(const Config& config, const LlamaConfig& c) {
    std::vector<int64_t> window(static_cast<size_t>(c.num_hidden_layers), 0);
    TRY(const auto given, config.optional_int("sliding_window", 1, kMost));
    if (c.model_type == "mistral") {
        // Absent is 4096, null is none: transformers' default of the field.
        const std::vector<std::string> keys = config.keys();
        const bool absent = std::find(keys.begin(), keys.end(), "sliding_window") == keys.end();
        std::fill(window.begin(), window.end(), given.value_or(absent ? 4096 : 0));
    } else if (c.model_type == "qwen2") {
        TRY(const auto used, config.optional_bool("use_sliding_window"));
        if (!used.value_or(false)) return window;
        TRY(const std::vector<std::string> types, config.string_list("layer_types"));
        if (!types.empty() && static_cast<int64_t>(types.size()) != c.num_hidden_layers)
            return config.wrong("layer_types", fmt::format("{} entries, one a layer", c.num_hidden_layers));
        TRY(const auto full, config.optional_int("max_window_layers", 0, kMost));
        const std::vector<std::string> keys = config.keys();
        const bool absent = std::find(keys.begin(), keys.end(), "sliding_window") == keys.end();
        for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
            if (!types.empty() && types[i] != "sliding_attention" && types[i] != "full_attention")
                return config.wrong("layer_types", "sliding_attention or full_attention");
            const bool sliding = types.empty() ? i >= full.value_or(28) : types[i] == "sliding_attention";
            if (sliding) window[i] = given.value_or(absent ? 4096 : 0);
        }
    }
    return window;
}

}  // namespace

Result<LlamaConfig> LlamaConfig::read(const Config& config, std::string model_type) {
    LlamaConfig c{.model_type = std::move(model_type)};
    TRY(c.vocab_size, config.require_int("vocab_size", 1, kMost));
    TRY(c.hidden_size, config.require_int("hidden_size", 1, kMost));
    TRY(c.intermediate_size, config.require_int("intermediate_size", 1, kMost));
    TRY(c.num_hidden_layers, config.require_int("num_hidden_layers", 1, 4096));
    TRY(c.num_attention_heads, config.require_int("num_attention_heads", 1, 65536));
    TRY(const auto kv_heads, config.optional_int("num_key_value_heads", 1, 65536));
    c.num_key_value_heads = kv_heads.value_or(c.num_attention_heads);
    if (c.num_attention_heads % c.num_key_value_heads != 0)
        return config.wrong("num_key_value_heads", "a divisor of num_attention_heads");
    TRY(const auto head_dim, config.optional_int("head_dim", 2, 65536));
    c.head_dim = head_dim.value_or(c.hidden_size / c.num_attention_heads);
    if (c.head_dim < 2 || c.head_dim % 2 != 0)
        return config.wrong(head_dim ? "head_dim" : "num_attention_heads", "an even number of dimensions a head");
    if (c.num_attention_heads * c.head_dim > kMost)
        return config.wrong("head_dim", fmt::format("at most {} values in all heads", kMost));
    TRY(const auto positions, config.optional_int("max_position_embeddings", 1, int64_t{1} << 31));
    c.max_position_embeddings = positions.value_or(c.model_type == "llama"   ? 2048
                                                   : c.model_type == "qwen2" ? 32768
                                                                             : 131072);
    TRY(const auto eps, config.optional_number("rms_norm_eps"));
    c.rms_norm_eps = static_cast<float>(eps.value_or(1e-6));
    if (!(c.rms_norm_eps >= 0.0f && c.rms_norm_eps <= 1.0f)) return config.wrong("rms_norm_eps", "a number in [0, 1]");
    TRY(const auto tied, config.optional_bool("tie_word_embeddings"));
    c.tie_word_embeddings = tied.value_or(false);
    TRY(const auto activation, config.optional_string("hidden_act"));
    if (activation && *activation != "silu" && *activation != "swish")
        return error(ErrorCode::unsupported, "{}: hidden_act is {}; \"silu\" is what nibble runs", config.file(),
                     in_quotes(*activation));
    if (c.model_type == "llama") {
        TRY(const auto attention_bias, config.optional_bool("attention_bias"));
        TRY(const auto mlp_bias, config.optional_bool("mlp_bias"));
        c.qkv_bias = c.o_bias = attention_bias.value_or(false) ? Bias::required : Bias::none;
        c.mlp_bias = mlp_bias.value_or(false) ? Bias::required : Bias::none;
    } else if (c.model_type == "qwen2") {
        c.qkv_bias = Bias::required;
    }
    TRY(c.window, read_window(config, c));
    return c;
}

}  // namespace nibble::model
