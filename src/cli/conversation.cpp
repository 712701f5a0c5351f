#include "cli/conversation.h"

#include "engine/engine.h"
#include "server/chat_prompt.h"
#include "server/choice_text.h"
#include "server/generation_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <utility>
#include <vector>

namespace nibble::cli {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using text::Value;

double seconds(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
}

Value message(std::string_view role, std::string content) {
    text::Object object;
    object.set("role", Value(role));
    object.set("content", Value(std::move(content)));
    return Value(std::move(object));
}

uint64_t fresh_seed() {
    std::random_device entropy;
    return (uint64_t{entropy()} << 32) | entropy();
}

}  // namespace

Conversation::Conversation(const server::ServedModel& model, ConversationOptions options)
    : model_(model), options_(std::move(options)) {
    reset();
}

void Conversation::reset() {
    messages_.clear();
    if (!options_.system.empty()) messages_.push_back(message("system", options_.system));
}

void Conversation::set_system(std::string system) {
    options_.system = std::move(system);
    reset();
}

Result<Turn> Conversation::ask(const std::string& question, const std::atomic<bool>& stop,
                               const std::function<void(Voice, std::string_view)>& say) {
    const auto asked = Clock::now();
    server::RenderedPrompt rendered{question, false};
    std::optional<text::OutputParserOptions> parser;
    if (!options_.raw) {
        if (!model_.chat_template)
            return error(ErrorCode::unsupported,
                         "the checkpoint has no chat template: give --chat-template FILE, or --raw");
        server::ChatPrompt prompt;
        text::Array messages = messages_;
        messages.push_back(message("user", question));
        prompt.input.messages = Value(std::move(messages));
        if (options_.thinking) {
            text::Object kwargs;
            kwargs.set("enable_thinking", Value(*options_.thinking));
            prompt.input.template_kwargs = Value(std::move(kwargs));
            prompt.thinking_disabled = !*options_.thinking && model_.chat_template->supports_thinking();
        }
        TRY(rendered, server::render_chat_prompt(prompt, model_));
        parser = text::OutputParserOptions{.format = model_.output_format,
                                           .starts_in_reasoning = rendered.starts_in_reasoning,
                                           .thinking_disabled = prompt.thinking_disabled,
                                           .tools = {}};
    }
    engine::Request request{.id = "run"};
    TRY(request.prompt, server::encode_prompt(model_, rendered.text, options_.raw, "the prompt"));

    const server::GenerationDefaults& defaults = model_.defaults;
    server::GenerationParams params;
    params.sampling.temperature = static_cast<float>(options_.temperature.value_or(defaults.temperature));
    params.sampling.top_p = static_cast<float>(options_.top_p.value_or(defaults.top_p));
    params.sampling.top_k = static_cast<int>(options_.top_k.value_or(defaults.top_k));
    params.sampling.min_p = static_cast<float>(options_.min_p.value_or(defaults.min_p));
    params.sampling.repetition_penalty =
        static_cast<float>(options_.repetition_penalty.value_or(defaults.repetition_penalty));
    params.sampling.presence_penalty = defaults.presence_penalty;
    params.sampling.frequency_penalty = defaults.frequency_penalty;
    params.sampling.seed = options_.seed ? *options_.seed : fresh_seed();
    params.sampling.stop_ids = defaults.eos_ids;
    params.max_tokens = options_.max_tokens ? options_.max_tokens : defaults.max_tokens;
    TRY_VOID(server::fit_to_context(params, model_, request.prompt.size(), "the prompt"));
    request.sampling = params.sampling;

    server::ChoiceText words(model_.tokenizer, params, std::move(parser));
    Turn turn;
    const auto show = [&](server::ChoiceText::Piece& piece) {
        if (!piece.text.empty()) {
            turn.content += piece.text;
            say(Voice::content, piece.text);
        }
        for (const text::OutputDelta& delta : piece.parsed) {
            const bool reasoning = delta.kind == text::OutputDelta::Kind::reasoning;
            if (delta.text.empty() || (!reasoning && delta.kind != text::OutputDelta::Kind::content)) continue;
            (reasoning ? turn.reasoning : turn.content) += delta.text;
            say(reasoning ? Voice::reasoning : Voice::content, delta.text);
        }
    };

    const std::vector<engine::TokenId> stop_ids = request.sampling.stop_ids;
    TRY(const std::unique_ptr<engine::RequestStream> stream, model_.engine->submit(std::move(request)));
    Clock::time_point first, last;
    bool cancelled = false;
    while (turn.finish == engine::FinishReason::none) {
        if (stop && !cancelled) {
            stream->cancel();
            cancelled = true;
        }
        const std::optional<engine::TokenEvent> event = stream->next(50ms);
        if (!event) continue;
        turn.finish = event->finish;
        turn.prompt_tokens = event->prompt_tokens;
        if (event->token < 0) continue;
        last = Clock::now();
        if (turn.tokens++ == 0) first = last;
        const bool ends = event->finish == engine::FinishReason::stop &&
                          std::find(stop_ids.begin(), stop_ids.end(), event->token) != stop_ids.end();
        server::ChoiceText::Piece piece;
        words.push(event->token, !ends, piece);
        show(piece);
    }
    server::ChoiceText::Piece rest;
    words.finish(rest);
    show(rest);
    if (turn.finish == engine::FinishReason::numerical_error)
        return error(ErrorCode::internal, "the model computed something that is no number");
    if (turn.finish == engine::FinishReason::shutdown) return error(ErrorCode::unavailable, "the engine stopped");
    if (turn.tokens > 0) {
        turn.first_token_seconds = seconds(asked, first);
        turn.decode_seconds = seconds(first, last);
    }
    if (!options_.raw) {
        messages_.push_back(message("user", question));
        messages_.push_back(message("assistant", turn.content));
    }
    return turn;
}

}  // namespace nibble::cli
