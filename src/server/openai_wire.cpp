#include "server/openai_wire.h"

#include "server/json_writer.h"

#include <ctime>

namespace nibble::server {

std::string openai_head(std::string_view id, std::string_view object, int64_t created, std::string_view model) {
    std::string out;
    JsonWriter(out)
        .begin_object()
        .string("id", id)
        .string("object", object)
        .integer("created", created)
        .string("model", model);
    out += ',';
    return out;
}

void append_usage(std::string& out, const GenerationUsage& usage) {
    JsonWriter json(out);
    json.key("usage").begin_object();
    json.integer("prompt_tokens", usage.prompt_tokens);
    json.integer("completion_tokens", usage.completion_tokens);
    json.integer("total_tokens", usage.prompt_tokens + usage.completion_tokens);
    json.key("prompt_tokens_details").begin_object().integer("cached_tokens", usage.cached_tokens).end_object();
    json.key("completion_tokens_details")
        .begin_object()
        .integer("reasoning_tokens", usage.reasoning_tokens)
        .end_object();
    json.end_object();
}

void append_timings(std::string& out, const Generation& generation) {
    const GenerationUsage usage = generation.usage();
    const GenerationTimes times = generation.times();
    const auto per_second = [](int64_t tokens, double ms) {
        return ms > 0 ? static_cast<double>(tokens) * 1000 / ms : 0;
    };
    const int64_t computed = usage.prompt_tokens - usage.cached_tokens;
    // The first token of each choice comes out of its prefill.
    const int64_t decoded = std::max<int64_t>(0, usage.completion_tokens - generation.choices());
    JsonWriter json(out);
    json.key("timings").begin_object();
    json.integer("cache_n", usage.cached_tokens);
    json.integer("prompt_n", computed);
    json.number("prompt_ms", times.queue_and_prefill_ms);
    json.number("prompt_per_second", per_second(computed, times.queue_and_prefill_ms));
    json.integer("predicted_n", usage.completion_tokens);
    json.number("predicted_ms", times.decode_ms);
    json.number("predicted_per_second", per_second(decoded, times.decode_ms));
    json.end_object();
}

void append_error_event(std::string& events, const ApiError& error) {
    events += "data: ";
    events += openai_error_json(error);
    events += "\n\n";
    append_done_event(events);
}

void append_done_event(std::string& events) {
    events += "data: [DONE]\n\n";
}

void append_stop_reason(std::string& out, const GenerationDelta& delta, const GenerationParams& params) {
    if (delta.piece.stop_string >= 0)
        JsonWriter(out).string("stop_reason", params.stop[static_cast<size_t>(delta.piece.stop_string)]);
    else if (delta.stop_id >= 0)
        JsonWriter(out).integer("stop_reason", delta.stop_id);
}

std::string ids_json(const std::vector<engine::TokenId>& ids) {
    std::string out = "[";
    for (size_t i = 0; i < ids.size(); ++i) {
        if (i > 0) out += ',';
        append_integer(out, ids[i]);
    }
    out += ']';
    return out;
}

int64_t unix_seconds() {
    return static_cast<int64_t>(std::time(nullptr));
}

}  // namespace nibble::server
