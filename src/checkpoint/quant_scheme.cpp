#include "checkpoint/quant_scheme.h"

#include "base/in_quotes.h"
#include "checkpoint/module_patterns.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <vector>

namespace nibble::checkpoint {
namespace {

using enum ClaimedFormat;

// modelopt's quant_algo. W4A8_NVFP4_FP8 has NVFP4 weights whose input_scale is meant for FP8 activations, and NVFP4_AWQ
// differs from NVFP4 by tensors that weights.cpp refuses by name.
struct Algorithm {
    std::string_view name;
    ClaimedFormat format;
};
constexpr std::array kAlgorithms = {
    Algorithm{"NVFP4", nvfp4},
    Algorithm{"NVFP4_AWQ", nvfp4},
    Algorithm{"W4A16_NVFP4", nvfp4_w4a16},
    Algorithm{"W4A8_NVFP4_FP8", nvfp4_w4a16},
    Algorithm{"FP8", fp8},
    Algorithm{"FP8_PER_CHANNEL_PER_TOKEN", fp8_per_channel},
    Algorithm{"FP8_PB_WO", fp8_block},
    Algorithm{"MXFP4", mxfp4},
    Algorithm{"W4A8_MXFP4_FP8", mxfp4},
    Algorithm{"MXFP8", mxfp8},
};
constexpr std::string_view kMixed = "MIXED_PRECISION";

// Modules that serving systems keep as one matrix; a checkpoint or a config may name either side.
struct Fused {
    std::string_view name;
    std::array<std::string_view, 3> parts;
};
constexpr std::array kFused = {
    Fused{"qkv_proj", {"q_proj", "k_proj", "v_proj"}},
    Fused{"gate_up_proj", {"gate_proj", "up_proj"}},
    Fused{"in_proj_qkvz", {"in_proj_qkv", "in_proj_z"}},
    Fused{"in_proj_ba", {"in_proj_b", "in_proj_a"}},
    Fused{"w13", {"w1", "w3"}},
};

std::string_view last_component(std::string_view module) {
    return module.substr(module.rfind('.') + 1);
}

// A claim about all modules means the linear ones. Which are not only names tell: embeddings, norms, convolutions, and
// the router of a mixture of experts, a bare parameter in most families.
bool is_linear_name(std::string_view module) {
    const std::string_view last = last_component(module);
    return !(last.starts_with("embed") || last == "wte" || last.starts_with("conv") || last == "gate" ||
             last == "router" || last.starts_with("norm") || last.ends_with("norm"));
}

Result<ClaimedFormat> parse_algorithm(const Config& config, std::string_view field, const std::string& algorithm) {
    for (const Algorithm& known : kAlgorithms)
        if (known.name == algorithm) return known.format;
    return error(ErrorCode::unsupported, "{}: {}: nibble does not know the algorithm {}", config.file(), field,
                 in_quotes(algorithm));
}

Result<void> check_group_size(const Config& entry, ClaimedFormat format) {
    if (format != nvfp4 && format != nvfp4_w4a16) return {};
    TRY(const auto size, entry.optional_int("group_size", 0, 1 << 20));
    if (size && *size != 16 && *size != 0)
        return error(ErrorCode::unsupported, "{}: group_size: NVFP4 has a scale per 16 values, found {}", entry.file(),
                     *size);
    return {};
}

}  // namespace

std::string_view name(ClaimedFormat format) {
    switch (format) {
        case none:
            return "none";
        case unquantized:
            return "unquantised";
        case nvfp4:
            return "NVFP4";
        case nvfp4_w4a16:
            return "NVFP4 (weights only)";
        case fp8:
            return "FP8";
        case fp8_per_channel:
            return "FP8 per channel";
        case fp8_block:
            return "FP8 per block";
        case mxfp4:
            return "MXFP4";
        case mxfp8:
            return "MXFP8";
        case other:
            return "unknown";
    }
    return "?";
}

struct QuantScheme::State {
    // What an entry of quantized_layers, or a group of config_groups, gives its modules.
    struct Layer {
        ClaimedFormat format = none;
        std::string algorithm;
    };
    struct Group {
        std::string name;
        Layer layer;
        ModulePatterns targets;
        bool every_linear = false;  // targets the class
    };

    Dialect dialect = Dialect::none;
    std::string method;     // "modelopt 0.29.0", "compressed-tensors"
    std::string source;     // "hf_quant_config.json"
    std::string algorithm;  // of the whole
    ClaimedFormat fallback = none;
    std::string excluded_field;  // "exclude_modules"
    ModulePatterns excluded;
    std::map<std::string, Layer, std::less<>> layers;
    std::vector<Group> groups;
    std::string kv_cache;  // "FP8", "NVFP4"; empty: as the activations

    Result<void> parse_modelopt(const Config& config, const Config& quantization, std::string_view prefix);
    Result<void> parse_groups(const Config& quantization);
    Result<Layer> parse_group_layer(const Config& group, const std::string& global_format);
    Result<void> parse_compressed_tensors(const Config& quantization);
    Result<void> parse_fp8(const Config& quantization);
    Result<void> parse_excluded(const Config& config, std::vector<std::string_view> fields,
                                ModulePatterns::Syntax syntax);
    Result<void> parse_kv_scheme(const Config& quantization);
    Result<void> parse_producer(const Config& config);

    std::optional<Claim> claim_of_layers(std::string_view module) const;
    std::optional<Claim> claim_of_groups(std::string_view module) const;
    Claim claim_of(const Layer& layer, bool named, std::string because) const {
        return {
            .format = layer.format, .named = named, .algorithm = layer.algorithm, .because = source + ": " + because};
    }
};

Result<void> QuantScheme::State::parse_producer(const Config& config) {
    TRY(const auto name, config.optional_string("producer.name"));
    TRY(const auto version, config.optional_string("producer.version"));
    if (name) method = *name;
    if (version) method += " " + *version;
    return {};
}

Result<void> QuantScheme::State::parse_excluded(const Config& config, std::vector<std::string_view> fields,
                                                ModulePatterns::Syntax syntax) {
    for (const std::string_view field : fields) {
        if (!config.has(field)) continue;
        TRY(auto entries, config.string_list(field));
        excluded_field = field;
        TRY(excluded, ModulePatterns::parse(std::move(entries), syntax, source + ": " + std::string(field)));
        return {};
    }
    return {};
}

Result<void> QuantScheme::State::parse_kv_scheme(const Config& quantization) {
    TRY(const Config scheme, quantization.section("kv_cache_scheme"));
    TRY(const auto bits, scheme.optional_int("num_bits", 1, 32));
    TRY(const auto type, scheme.optional_string("type"));
    if (bits && type) kv_cache = *bits == 8 && *type == "float" ? "FP8" : fmt::format("{}{}", *type, *bits);
    return {};
}

Result<void> QuantScheme::State::parse_modelopt(const Config& config, const Config& quantization,
                                                std::string_view prefix) {
    dialect = Dialect::modelopt;
    method = "modelopt";
    TRY_VOID(parse_producer(quantization.has("producer") ? quantization : config));
    TRY(const auto algo, quantization.optional_string("quant_algo"));
    algorithm = algo.value_or("");
    if (quantization.has("kv_cache_quant_algo")) {
        TRY(kv_cache, quantization.require_string("kv_cache_quant_algo"));
    } else {
        TRY_VOID(parse_kv_scheme(quantization));
    }
    TRY_VOID(parse_excluded(quantization, {"exclude_modules", "ignore"}, ModulePatterns::Syntax::wildcard));
    for (const auto& [module, entry] : quantization.members("quantized_layers")) {
        TRY(const std::string layer_algorithm, entry.require_string("quant_algo"));
        TRY(const ClaimedFormat format,
            parse_algorithm(entry, fmt::format("{}quantized_layers.{}", prefix, module), layer_algorithm));
        TRY_VOID(check_group_size(entry, format));
        layers.emplace(module, Layer{format, layer_algorithm});
    }
    if (algorithm == kMixed || (algorithm.empty() && quantization.has("config_groups"))) {
        if (layers.empty()) TRY_VOID(parse_groups(quantization));
        if (layers.empty() && groups.empty())
            return quantization.wrong("quantized_layers",
                                      "an entry for each quantised module (quant_algo MIXED_PRECISION)");
        fallback = unquantized;  // what is not listed
    } else if (!algorithm.empty()) {
        TRY(fallback, parse_algorithm(config, std::string(prefix) + "quant_algo", algorithm));
        TRY_VOID(check_group_size(quantization, fallback));
    } else {
        fallback = unquantized;
    }
    return {};
}

Result<QuantScheme::State::Layer> QuantScheme::State::parse_group_layer(const Config& group,
                                                                        const std::string& global_format) {
    TRY(const auto own_format, group.optional_string("format"));
    const std::string format = own_format.value_or(global_format);
    TRY(const int64_t bits, group.require_int("weights.num_bits", 1, 64));
    TRY(const auto optional_type, group.optional_string("weights.type"));
    TRY(const auto optional_strategy, group.optional_string("weights.strategy"));
    const std::string type = optional_type.value_or("int");
    TRY(const auto group_size, group.optional_int("weights.group_size", -1, 1 << 20));
    const std::string strategy = optional_strategy.value_or(group_size.value_or(0) > 0 ? "group" : "tensor");
    const bool weights_only = !group.has("input_activations");

    Layer layer;
    layer.algorithm = format.empty() ? fmt::format("{}{} per {}", type, bits, strategy) : format;
    if (type == "float" && bits == 4 && (group_size == 32 || format.starts_with("mxfp4"))) {
        layer.format = mxfp4;
    } else if (type == "float" && bits == 4) {
        if (group_size && *group_size != 16)
            return error(ErrorCode::unsupported, "{}: group_size: NVFP4 has a scale per 16 values, found {}",
                         group.file(), *group_size);
        layer.format = weights_only ? nvfp4_w4a16 : nvfp4;
    } else if (type == "float" && bits == 8 && (group_size == 32 || format.starts_with("mxfp8"))) {
        layer.format = mxfp8;
    } else if (type == "float" && bits == 8 && strategy == "tensor") {
        layer.format = fp8;
    } else if (type == "float" && bits == 8 && strategy == "channel") {
        layer.format = fp8_per_channel;
    } else if (type == "float" && bits == 8 && strategy == "block") {
        layer.format = fp8_block;
    } else {
        return error(ErrorCode::unsupported, "{}: {}: nibble does not read weights of {} {} bits per {}{}",
                     group.file(), in_quotes(layer.algorithm), type, bits, strategy,
                     format.empty() ? "" : fmt::format(" ({})", format));
    }
    return layer;
}

Result<void> QuantScheme::State::parse_groups(const Config& quantization) {
    TRY(const auto global_format, quantization.optional_string("format"));
    for (const auto& [group_name, group] : quantization.members("config_groups")) {
        Group parsed;
        parsed.name = group_name;
        TRY(parsed.layer, parse_group_layer(group, global_format.value_or("")));
        TRY(auto targets, group.string_list("targets"));
        parsed.every_linear = std::find(targets.begin(), targets.end(), "Linear") != targets.end();
        TRY(parsed.targets, ModulePatterns::parse(std::move(targets), ModulePatterns::Syntax::regex,
                                                  fmt::format("{}: config_groups.{}.targets", source, group_name)));
        groups.push_back(std::move(parsed));
    }
    return {};
}

Result<void> QuantScheme::State::parse_compressed_tensors(const Config& quantization) {
    dialect = Dialect::compressed_tensors;
    method = "compressed-tensors";
    TRY(const auto version, quantization.optional_string("version"));
    if (version) method += " " + *version;
    TRY(const auto status, quantization.optional_string("quantization_status"));
    if (status && *status != "compressed")
        return error(ErrorCode::unsupported, "{}: quantization_status: expected 'compressed', found {}",
                     quantization.file(), in_quotes(*status));
    TRY_VOID(parse_excluded(quantization, {"ignore"}, ModulePatterns::Syntax::regex));
    TRY_VOID(parse_groups(quantization));
    TRY_VOID(parse_kv_scheme(quantization));
    if (groups.empty()) return quantization.wrong("config_groups", "at least one group");
    algorithm = quantization.optional_string("format").value_or(std::nullopt).value_or(groups.front().layer.algorithm);
    fallback = unquantized;  // what no group targets
    return {};
}

Result<void> QuantScheme::State::parse_fp8(const Config& quantization) {
    method = "fp8";
    TRY(const auto block, quantization.int_or_list("weight_block_size"));
    if (!block.empty() && block != std::vector<int64_t>{128, 128})
        return quantization.wrong("weight_block_size", "[128, 128]");
    TRY(const auto element, quantization.optional_string("fmt"));
    if (element && *element != "e4m3" && *element != "float8_e4m3fn") return quantization.wrong("fmt", "'e4m3'");
    dialect = block.empty() ? Dialect::modelopt : Dialect::fp8_block;  // per tensor the names are modelopt's
    fallback = block.empty() ? fp8 : fp8_block;
    algorithm = block.empty() ? "FP8" : "FP8 per 128x128 block";
    return parse_excluded(quantization, {"modules_to_not_convert", "ignored_layers", "ignore"},
                          ModulePatterns::Syntax::wildcard);
}

Result<QuantScheme> QuantScheme::parse(const Config* hf_quant_config, const Config& config) {
    auto state = std::make_shared<State>();
    TRY(const Config top, config.section("quantization_config"));
    TRY(const Config nested, config.section("text_config.quantization_config"));
    const bool at_top = config.has("quantization_config");
    const Config& own = at_top ? top : nested;
    const bool has_own = at_top || config.has("text_config.quantization_config");
    const std::string own_source = std::filesystem::path(config.file()).filename().string() +
                                   (at_top ? ": quantization_config" : ": text_config.quantization_config");

    if (hf_quant_config != nullptr) {
        if (!hf_quant_config->has("quantization")) return hf_quant_config->wrong("quantization", "an object");
        TRY(const Config quantization, hf_quant_config->section("quantization"));
        state->source = std::filesystem::path(hf_quant_config->file()).filename().string();
        TRY_VOID(state->parse_modelopt(*hf_quant_config, quantization, "quantization."));
    } else if (has_own) {
        state->source = own_source;
        TRY(const auto method, own.optional_string("quant_method"));
        // Older exporters nest modelopt's file as it is.
        TRY(const Config inner, own.section("quantization"));
        if (method == "compressed-tensors") {
            TRY_VOID(state->parse_compressed_tensors(own));
        } else if (method == "fp8") {
            TRY_VOID(state->parse_fp8(own));
        } else if (method == "mxfp4") {
            state->method = "mxfp4";
            state->algorithm = "MXFP4";
            state->fallback = mxfp4;
            TRY_VOID(state->parse_excluded(own, {"modules_to_not_convert"}, ModulePatterns::Syntax::wildcard));
        } else if (own.has("quantization")) {
            TRY_VOID(state->parse_modelopt(own, inner, "quantization_config.quantization."));
        } else if (own.has("quant_algo") || (method && method->starts_with("modelopt"))) {
            TRY_VOID(state->parse_modelopt(own, own, "quantization_config."));
        } else if (!method) {
            return own.wrong("quant_method", "the name of a method");
        } else {
            return error(ErrorCode::unsupported, "{}: quantization_config.quant_method: nibble does not know {}",
                         config.file(), in_quotes(*method));
        }
    }
    if (hf_quant_config != nullptr && has_own && state->kv_cache.empty() &&
        !hf_quant_config->has("quantization.kv_cache_quant_algo"))
        TRY_VOID(state->parse_kv_scheme(own));
    QuantScheme scheme;
    scheme.state_ = std::move(state);
    return scheme;
}

std::optional<Claim> QuantScheme::State::claim_of_layers(std::string_view module) const {
    const auto entry = [&](std::string_view name) { return "quantized_layers." + std::string(name); };
    if (const auto exact = layers.find(module); exact != layers.end())
        return claim_of(exact->second, true, entry(module));
    const std::string_view last = last_component(module);
    const std::string parent(module.substr(0, module.size() - last.size()));
    for (const Fused& fused : kFused) {
        if (last == fused.name) {  // the config lists its parts, which must agree
            const Layer* first = nullptr;
            for (const std::string_view part : fused.parts) {
                const auto found = part.empty() ? layers.end() : layers.find(parent + std::string(part));
                if (found == layers.end()) continue;
                if (first != nullptr && first->format != found->second.format)
                    return claim_of({other, first->algorithm + " and " + found->second.algorithm}, true,
                                    entry(parent + std::string(part)) + " differs from its siblings");
                first = &found->second;
            }
            if (first != nullptr) return claim_of(*first, true, entry(parent + std::string(fused.parts[0])));
        }
        for (const std::string_view part : fused.parts)  // the config lists the fused whole
            if (!part.empty() && last == part)
                if (const auto found = layers.find(parent + std::string(fused.name)); found != layers.end())
                    return claim_of(found->second, true, entry(found->first));
    }
    // A container: "….mlp.experts" speaks for every expert's matrices.
    for (size_t dot = module.rfind('.'); dot != std::string_view::npos && dot > 0; dot = module.rfind('.', dot - 1))
        if (const auto found = layers.find(module.substr(0, dot)); found != layers.end())
            return claim_of(found->second, true, entry(found->first));
    return std::nullopt;
}

std::optional<Claim> QuantScheme::State::claim_of_groups(std::string_view module) const {
    for (const Group& group : groups)
        if (const auto match = group.targets.match(module)) {
            if (match->how == ModulePatterns::How::failed)
                return claim_of({other, group.targets.entries()[match->index]}, true,
                                fmt::format("config_groups.{}.targets[{}] takes too many steps to match", group.name,
                                            match->index));
            return claim_of(group.layer, true, fmt::format("config_groups.{}.targets[{}]", group.name, match->index));
        }
    for (const Group& group : groups)
        if (group.every_linear && is_linear_name(module))
            return claim_of(group.layer, false, fmt::format("config_groups.{}: every Linear", group.name));
    return std::nullopt;
}

Claim QuantScheme::claim(std::string_view module) const {
    const State& state = *state_;
    if (state.fallback == none) return {};
    if (const auto match = state.excluded.match(module)) {
        const std::string& entry = state.excluded.entries()[match->index];
        std::string because = fmt::format("{}[{}] {}", state.excluded_field, match->index, in_quotes(entry));
        using How = ModulePatterns::How;
        if (match->how == How::failed)
            return state.claim_of({other, entry}, true, because + " takes too many steps to match");
        return state.claim_of({unquantized, ""}, match->how != How::part, std::move(because));
    }
    if (auto claim = state.claim_of_layers(module)) return *std::move(claim);
    if (auto claim = state.claim_of_groups(module)) return *std::move(claim);
    if (!is_linear_name(module)) return state.claim_of({unquantized, ""}, false, "not a linear module by its name");
    if (state.fallback == unquantized) return state.claim_of({unquantized, ""}, false, "not listed");
    return state.claim_of({state.fallback, state.algorithm}, false, "quant_algo");
}

std::vector<QuantScheme::Entry> QuantScheme::entries() const {
    const State& state = *state_;
    std::vector<Entry> entries;
    for (const auto& [module, layer] : state.layers)
        entries.push_back({module, state.claim_of(layer, true, "quantized_layers." + module)});
    for (const State::Group& group : state.groups)
        for (size_t i = 0; i < group.targets.entries().size(); ++i)
            entries.push_back(
                {group.targets.entries()[i],
                 state.claim_of(group.layer, true, fmt::format("config_groups.{}.targets[{}]", group.name, i))});
    for (size_t i = 0; i < state.excluded.entries().size(); ++i)
        entries.push_back({state.excluded.entries()[i],
                           state.claim_of({unquantized, ""}, true, fmt::format("{}[{}]", state.excluded_field, i))});
    return entries;
}

Dialect QuantScheme::dialect() const {
    return state_->dialect;
}
bool QuantScheme::kv_cache_fp8() const {
    return state_->kv_cache == "FP8";
}

std::string QuantScheme::summary() const {
    const State& state = *state_;
    if (state.method.empty() || (state.fallback == unquantized && state.layers.empty() && state.groups.empty()))
        return "not quantised";
    std::string text = state.method + " " + state.algorithm;
    if (!state.layers.empty()) {
        std::map<std::string_view, size_t> counts;
        for (const auto& [module, layer] : state.layers) ++counts[layer.algorithm];
        std::vector<std::string> parts;
        for (const auto& [algorithm, count] : counts) parts.push_back(fmt::format("{} {}", count, algorithm));
        text += fmt::format(" ({})", fmt::join(parts, ", "));
    }
    if (!state.kv_cache.empty()) text += ", " + state.kv_cache + " KV cache";
    if (const size_t count = state.excluded.entries().size(); count > 0)
        text += fmt::format(", {} module{} excluded", count, count == 1 ? "" : "s");
    return text;
}

}  // namespace nibble::checkpoint
