#include "server/generation_fields.h"

#include "base/in_quotes.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

namespace nibble::server {
namespace {

constexpr int64_t kMaxTokens = std::numeric_limits<int32_t>::max();
constexpr double kTinyProbability = 1e-10;  // of top_p 0: what is left is the likeliest token

// Fields that would change the answer, and cannot: to ignore them would be to answer another question.
struct Refused {
    std::string_view name, why;
};
constexpr Refused kRefused[] = {
    {"guided_json", "structured output is not supported yet"},
    {"guided_regex", "structured output is not supported yet"},
    {"guided_choice", "structured output is not supported yet"},
    {"guided_grammar", "structured output is not supported yet"},
    {"structured_outputs", "structured output is not supported yet"},
    {"grammar", "structured output is not supported yet"},
    {"json_schema", "structured output is not supported yet"},
    {"allowed_token_ids", "restricting the vocabulary is not supported"},
    {"bad_words", "banned words are not supported; logit_bias bans tokens"},
    {"truncate_prompt_tokens", "prompts are not cut; send the part that is wanted"},
    {"prompt_embeds", "prompts are text or token ids"},
    {"chat_template", "templates come from the server, not from requests"},
    {"documents", "documents are not supported; put them into a message"},
    {"web_search_options", "the server fetches nothing"},
    {"functions", "superseded by tools"},
    {"function_call", "superseded by tool_choice"},
    {"audio", "only text is produced"},
};

// Fields without effect on the answer's text: taken, and counted as ignored.
constexpr std::string_view kHarmless[] = {
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "verbosity",
    "prompt_cache_key",
    "cache_prompt",
    "prediction",
    "prompt_cache_retention",
    "request_id",
    "cache_salt",
    "return_progress",
    "spaces_between_special_tokens",
};

void read_sampling(Fields& fields, const ServedModel& model, engine::SamplingParams& sampling) {
    const GenerationDefaults& defaults = model.defaults;
    const auto number = [&](std::string_view name, double min, double max, float otherwise) {
        return static_cast<float>(fields.number(name, min, max).value_or(otherwise));
    };
    sampling.temperature = number("temperature", 0, 2, defaults.temperature);
    sampling.top_p = number("top_p", 0, 1, defaults.top_p);
    if (sampling.top_p <= 0) sampling.top_p = kTinyProbability;
    sampling.top_k =
        static_cast<int>(std::max<int64_t>(0, fields.integer("top_k", -1, kMaxTokens).value_or(defaults.top_k)));
    sampling.min_p = number("min_p", 0, 1, defaults.min_p);
    sampling.repetition_penalty = number("repetition_penalty", 0.01, 100, defaults.repetition_penalty);
    sampling.presence_penalty = number("presence_penalty", -2, 2, defaults.presence_penalty);
    sampling.frequency_penalty = number("frequency_penalty", -2, 2, defaults.frequency_penalty);
}

void read_logit_bias(Fields& fields, const ServedModel& model, engine::SamplingParams& sampling) {
    const text::Object* bias = fields.object("logit_bias");
    if (!bias) return;
    if (bias->size() > static_cast<size_t>(model.limits.logit_bias)) {
        fields.fail("logit_bias",
                    fmt::format("expected at most {} tokens, found {}", model.limits.logit_bias, bias->size()));
        return;
    }
    for (const auto& [key, value] : bias->entries()) {
        int64_t id = -1;
        const auto [end, failure] = std::from_chars(key.data(), key.data() + key.size(), id);
        if (failure != std::errc{} || end != key.data() + key.size() || id < 0 || id >= model.vocab_size) {
            fields.fail("logit_bias", fmt::format("expected token ids in [0, {}] as names, found {}",
                                                  model.vocab_size - 1, in_quotes(key, 40)));
            return;
        }
        double amount = std::nan("");
        if (value.is_int()) amount = static_cast<double>(value.as_int());
        if (value.is_float()) amount = value.as_float();
        if (!(amount >= -100 && amount <= 100)) {
            fields.fail("logit_bias",
                        fmt::format("expected numbers in [-100, 100], found {} for token {}", describe(value), id));
            return;
        }
        sampling.logit_bias.emplace_back(static_cast<engine::TokenId>(id), static_cast<float>(amount));
    }
    // "1" and "01" name one token twice; the last one counts, as with any doubled name.
    std::stable_sort(sampling.logit_bias.begin(), sampling.logit_bias.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    const auto doubled = std::unique(sampling.logit_bias.rbegin(), sampling.logit_bias.rend(),
                                     [](const auto& a, const auto& b) { return a.first == b.first; });
    sampling.logit_bias.erase(sampling.logit_bias.begin(), doubled.base());
}

void read_stops(Fields& fields, const ServedModel& model, GenerationParams& params) {
    const RequestLimits& limits = model.limits;
    const text::Value* stop = fields.any("stop");
    const auto take = [&](const text::Value& value) {
        if (!value.is_string() || value.as_string().size() > static_cast<size_t>(limits.stop_bytes)) {
            fields.fail("stop", fmt::format("expected strings of at most {} bytes, found {}", limits.stop_bytes,
                                            value.is_string() ? fmt::format("{} bytes", value.as_string().size())
                                                              : describe(value)));
        } else if (!value.as_string().empty()) {  // an empty one would stop before the first word: nobody means that
            params.stop.push_back(value.as_string());
        }
    };
    if (stop && stop->is_array()) {
        if (stop->as_array().size() > static_cast<size_t>(limits.stop))
            fields.fail("stop",
                        fmt::format("expected at most {} strings, found {}", limits.stop, stop->as_array().size()));
        else
            for (const text::Value& value : stop->as_array()) take(value);
    } else if (stop) {
        take(*stop);
    }
    if (const text::Array* ids = fields.array("stop_token_ids", static_cast<size_t>(limits.stop_ids)))
        for (const text::Value& value : *ids) {
            const auto id = integral(value);
            if (!id || *id < 0 || *id >= model.vocab_size) {
                fields.fail("stop_token_ids", fmt::format("expected token ids in [0, {}], found {}",
                                                          model.vocab_size - 1, describe(value)));
                break;
            }
            params.own_stop_ids.push_back(static_cast<engine::TokenId>(*id));
        }
    params.include_stop = fields.boolean("include_stop_str_in_output").value_or(false);

    // ignore_eos means the model's own: what the request itself asks to stop at is meant.
    params.sampling.stop_ids = params.own_stop_ids;
    if (!fields.boolean("ignore_eos").value_or(false))
        params.sampling.stop_ids.insert(params.sampling.stop_ids.end(), model.defaults.eos_ids.begin(),
                                        model.defaults.eos_ids.end());
    params.sampling.ignore_eos = params.sampling.stop_ids.empty();
}

void read_stream(Fields& fields, GenerationParams& params) {
    params.stream = fields.boolean("stream").value_or(false);
    const text::Object* given = fields.object("stream_options");
    if (!given) return;
    if (!params.stream) {
        fields.fail("stream_options", "only goes with stream: true");
        return;
    }
    Fields options(*given, "stream_options");
    params.include_usage = options.boolean("include_usage").value_or(false);
    params.continuous_usage = options.boolean("continuous_usage_stats").value_or(false) && params.include_usage;
    options.without_effect("include_obfuscation");
    if (options.error()) fields.fail(*options.error());
}

void read_response_format(Fields& fields) {
    const text::Object* format = fields.object("response_format");
    if (!format) return;
    Fields inner(*format, "response_format");
    const auto type = inner.string("type");
    if (!type)
        inner.fail("type", "expected \"text\"");
    else if (*type == "json_object" || *type == "json_schema")
        inner.unsupported("type", fmt::format("{} is not supported yet; only text is", in_quotes(*type)));
    else if (*type != "text")
        inner.fail("type", fmt::format("expected \"text\", found {}", in_quotes(*type, 40)));
    if (inner.error()) fields.fail(*inner.error());
}

}  // namespace

GenerationParams read_generation_fields(Fields& fields, const ServedModel& model, const GenerationFieldNames& names,
                                        uint64_t draw) {
    GenerationParams params;
    const RequestLimits& limits = model.limits;
    read_sampling(fields, model, params.sampling);
    read_logit_bias(fields, model, params.sampling);
    read_stops(fields, model, params);
    read_stream(fields, params);
    read_response_format(fields);

    const auto seed = fields.integer("seed", std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max());
    // -1 is how several clients say "any".
    params.sampling.seed = seed && *seed != -1 ? static_cast<uint64_t>(*seed) : draw;

    const int64_t least = names.chat ? 1 : 0;
    params.max_tokens = fields.integer("max_tokens", least, kMaxTokens);
    if (const auto newer = fields.integer("max_completion_tokens", least, kMaxTokens)) params.max_tokens = newer;
    if (!params.max_tokens && !names.chat) params.max_tokens = 16;  // OpenAI's default of completions
    params.sampling.min_tokens = static_cast<int>(fields.integer("min_tokens", 0, kMaxTokens).value_or(0));
    if (params.max_tokens && params.sampling.min_tokens > *params.max_tokens)
        fields.fail("min_tokens", fmt::format("expected at most max_tokens ({}), found {}", *params.max_tokens,
                                              params.sampling.min_tokens));

    params.n = fields.integer("n", 1, limits.n).value_or(1);
    if (const auto best_of = fields.integer("best_of", 1, kMaxTokens); best_of && *best_of != params.n)
        fields.unsupported("best_of", fmt::format("only the same as n ({}) is supported", params.n));
    params.priority = static_cast<int>(
        fields.integer("priority", std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max())
            .value_or(0));

    params.skip_special_tokens = fields.boolean("skip_special_tokens").value_or(true);
    params.return_token_ids = fields.boolean("return_token_ids").value_or(false);
    params.tokens_as_ids = fields.boolean("return_tokens_as_token_ids").value_or(false);
    if (const auto k = fields.integer("prompt_logprobs", 0, limits.top_logprobs)) {
        params.sampling.prompt_logprobs = static_cast<int>(*k);
        if (params.stream) fields.unsupported("prompt_logprobs", "does not go with stream: true");
    }
    if (fields.boolean("use_beam_search").value_or(false))
        fields.unsupported("use_beam_search", "beam search is not supported");
    for (const Refused& refused : kRefused)
        if (fields.any(refused.name)) fields.unsupported(refused.name, refused.why);
    for (const std::string_view name : kHarmless) fields.without_effect(name);
    return params;
}

Result<std::string> read_model_name(Fields& fields, const ServedModel& model) {
    const auto name = fields.string("model");
    if (!fields.ok()) return *fields.error();
    if (!name || name->empty()) return model.names.front();
    if (std::find(model.names.begin(), model.names.end(), *name) != model.names.end()) return std::string(*name);
    return Error{ErrorCode::not_found,
                 fmt::format("model: {} is not served here; {} is", in_quotes(*name), in_quotes(model.names.front())),
                 "model"};
}

Result<void> fit_to_context(GenerationParams& params, const ServedModel& model, size_t prompt_tokens,
                            std::string_view prompt_field) {
    const auto used = static_cast<int64_t>(prompt_tokens);
    const int64_t left = model.max_context - used;
    const int64_t wanted = params.max_tokens.value_or(model.defaults.max_tokens.value_or(std::max<int64_t>(left, 1)));
    if (left < std::min<int64_t>(wanted, 1))
        return Error{ErrorCode::does_not_fit,
                     fmt::format("{}: {} tokens are too long for the model's context of {} (prompt and answer)",
                                 prompt_field, used, model.max_context),
                     std::string(prompt_field)};
    params.sampling.max_tokens = static_cast<int>(std::min(wanted, left));
    params.sampling.min_tokens = std::min(params.sampling.min_tokens, params.sampling.max_tokens);
    return {};
}

uint64_t choice_seed(uint64_t seed, int64_t choice) {
    if (choice == 0) return seed;
    // SplitMix64: neighbouring inputs give unrelated outputs.
    uint64_t z = seed + 0x9e3779b97f4a7c15u * static_cast<uint64_t>(choice);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

}  // namespace nibble::server
