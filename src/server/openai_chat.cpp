#include "server/openai_chat.h"

#include "base/in_quotes.h"
#include "server/chat_prompt.h"
#include "server/generation_answer.h"
#include "server/json_writer.h"
#include "server/logprobs.h"
#include "server/openai_wire.h"

#include <fmt/format.h>

#include <limits>

namespace nibble::server {
namespace {

using Kind = text::OutputDelta::Kind;

struct ChatRequest {
    std::string model_name;
    ChatPrompt prompt;
    GenerationParams params;
    bool include_reasoning = true;
    bool add_special_tokens = false;
};

ChatRequest read_chat_request(Fields& fields, const ServedModel& model, Services& services) {
    ChatRequest request;
    request.prompt = read_chat_prompt(fields, model);
    request.params = read_generation_fields(fields, model, {.chat = true}, services.draw());
    const bool logprobs = fields.boolean("logprobs").value_or(false);
    const auto top = fields.integer("top_logprobs", 0, model.limits.top_logprobs);
    if (top && *top > 0 && !logprobs) fields.fail("top_logprobs", "only goes with logprobs: true");
    if (logprobs) request.params.sampling.logprobs = static_cast<int>(top.value_or(0));
    request.include_reasoning = fields.boolean("include_reasoning").value_or(true);
    request.add_special_tokens = fields.boolean("add_special_tokens").value_or(false);
    if (fields.boolean("echo").value_or(false)) fields.unsupported("echo", "only /v1/completions repeats the prompt");
    if (const text::Array* modalities = fields.array("modalities", 16))
        for (const text::Value& modality : *modalities)
            if (!modality.is_string() || modality.as_string() != "text")
                fields.unsupported("modalities", fmt::format("only text is produced, found {}", describe(modality)));
    return request;
}

class ChatAnswer final : public GenerationAnswer {
public:
    ChatAnswer(Generation::Spec spec, Services& services, const HttpRequest& request, ChatRequest chat)
        : GenerationAnswer(std::move(spec), services, request, "chat"),
          include_reasoning_(chat.include_reasoning),
          calls_(chat.prompt.parallel_calls ? std::numeric_limits<int>::max() : 1),
          head_(openai_head("chatcmpl-" + request.id, params().stream ? "chat.completion.chunk" : "chat.completion",
                            unix_seconds(), chat.model_name)),
          choices_(static_cast<size_t>(generation().choices())) {}

private:
    struct Call {
        std::string id, name, arguments;
    };
    struct Choice {
        std::string content, reasoning;
        std::vector<Call> calls;
        std::string logprobs;  // elements, with commas between
        std::vector<engine::TokenId> token_ids;
        std::string prompt_logprobs;
        std::string end;  // finish_reason and what follows it
        bool role_said = false;
    };

    void write_delta(std::string& events, GenerationDelta& delta) override;
    void write_end(std::string& events) override;
    void write_error(std::string& events, const ApiError& error) override { append_error_event(events, error); }
    void keep_delta(GenerationDelta& delta) override;
    std::string whole() override;
    HttpReply error_reply(const ApiError& error) override { return openai_error_reply(error); }

    void open_chunk(std::string& out, int64_t choice);
    void close_chunk(std::string& out, const GenerationDelta& delta, bool with_token, bool last);
    bool write_parsed(std::string& out, const text::OutputDelta& parsed);
    void append_logprob(std::string& out, const GenerationDelta& delta);

    bool include_reasoning_;
    int calls_;  // of tools that are given at most
    std::string head_;
    std::vector<Choice> choices_;
};

void ChatAnswer::open_chunk(std::string& out, int64_t choice) {
    out += "data: ";
    out += head_;
    out += R"("choices":[{"index":)";
    append_integer(out, choice);
    out += R"(,"delta":{)";
}

void ChatAnswer::append_logprob(std::string& out, const GenerationDelta& delta) {
    if (delta.event->logprob)
        append_chat_logprob(out, tokenizer(), *delta.event->logprob, delta.event->top, params().tokens_as_ids);
}

// `with_token`: the chunk speaks for the delta's token; `last`: it ends the choice.
void ChatAnswer::close_chunk(std::string& out, const GenerationDelta& delta, bool with_token, bool last) {
    out += '}';
    if (with_token && delta.event->logprob) {
        out += R"(,"logprobs":{"content":[)";
        append_logprob(out, delta);
        out += "]}";
    }
    if (last) {
        out += R"(,"finish_reason":")";
        out += finish_name(delta.finish);
        out += '"';
        append_stop_reason(out, delta, params());
    } else {
        out += R"(,"finish_reason":null)";
    }
    if (with_token && params().return_token_ids) {
        out += R"(,"token_ids":[)";
        append_integer(out, delta.event->token);
        out += ']';
    }
    out += "}]";
    if (params().continuous_usage) {
        const int64_t prompt = static_cast<int64_t>(generation().spec().prompts.front().ids.size());
        out += ',';
        append_usage(out, {.prompt_tokens = prompt,
                           .completion_tokens = generation().choice_tokens(delta.choice),
                           .cached_tokens = delta.event->cached_tokens});
    }
    if (last && generation().done() && !params().include_usage) {
        out += ',';
        append_timings(out, generation());
    }
    out += "}\n\n";
}

// The inside of "delta"; false: there is nothing to say.
bool ChatAnswer::write_parsed(std::string& out, const text::OutputDelta& parsed) {
    const auto quote = [&](std::string_view before, std::string_view text) {
        out += before;
        append_json_escaped(out, text);
        out += '"';
    };
    switch (parsed.kind) {
        case Kind::content:
            quote(R"("content":")", parsed.text);
            return true;
        case Kind::reasoning:
            if (!include_reasoning_) return false;
            // Both names are read: reasoning by some clients, reasoning_content by the others.
            quote(R"("reasoning":")", parsed.text);
            quote(R"(,"reasoning_content":")", parsed.text);
            return true;
        case Kind::tool_start:
            if (parsed.tool_index >= calls_) return false;
            out += R"("tool_calls":[{"index":)";
            append_integer(out, parsed.tool_index);
            quote(R"(,"id":")", parsed.id);
            quote(R"(,"type":"function","function":{"name":")", parsed.name);
            out += R"(,"arguments":""}}])";
            return true;
        case Kind::tool_arguments:
            if (parsed.tool_index >= calls_) return false;
            out += R"("tool_calls":[{"index":)";
            append_integer(out, parsed.tool_index);
            quote(R"(,"function":{"arguments":")", parsed.text);
            out += "}}]";
            return true;
        case Kind::tool_end:
            return false;
    }
    return false;
}

void ChatAnswer::write_delta(std::string& events, GenerationDelta& delta) {
    Choice& choice = choices_[static_cast<size_t>(delta.choice)];
    if (!std::exchange(choice.role_said, true)) {
        open_chunk(events, delta.choice);
        events += R"("role":"assistant","content":""},"finish_reason":null}])";
        if (params().return_token_ids) {
            events += R"(,"prompt_token_ids":)";
            events += ids_json(generation().spec().prompts.front().ids);
        }
        events += "}\n\n";
    }
    // One chunk a token, even where its text is still held back: clients count them. A token that ends the answer
    // unseen goes with the finish. Several things made certain by one token get a chunk each.
    bool token_told = delta.event->token < 0;
    const bool shown = delta.token_visible;
    if (!generation().spec().parser) {
        if (shown || !delta.piece.text.empty()) {
            open_chunk(events, delta.choice);
            if (!delta.piece.text.empty()) {
                events += R"("content":")";
                append_json_escaped(events, delta.piece.text);
                events += '"';
            }
            close_chunk(events, delta, !std::exchange(token_told, true), false);
        }
    } else {
        for (const text::OutputDelta& parsed : delta.piece.parsed) {
            const size_t before = events.size();
            open_chunk(events, delta.choice);
            if (write_parsed(events, parsed))
                close_chunk(events, delta, !std::exchange(token_told, true), false);
            else
                events.resize(before);
        }
        if (shown && !token_told) {
            open_chunk(events, delta.choice);
            close_chunk(events, delta, !std::exchange(token_told, true), false);
        }
    }
    if (delta.finish == Finish::none) return;
    open_chunk(events, delta.choice);
    close_chunk(events, delta, !token_told, true);
}

void ChatAnswer::write_end(std::string& events) {
    if (params().include_usage) {
        events += "data: ";
        events += head_;
        events += R"("choices":[],)";
        append_usage(events, generation().usage());
        events += ',';
        append_timings(events, generation());
        events += "}\n\n";
    }
    append_done_event(events);
}

void ChatAnswer::keep_delta(GenerationDelta& delta) {
    Choice& choice = choices_[static_cast<size_t>(delta.choice)];
    choice.content += delta.piece.text;
    for (text::OutputDelta& parsed : delta.piece.parsed) {
        switch (parsed.kind) {
            case Kind::content:
                choice.content += parsed.text;
                break;
            case Kind::reasoning:
                choice.reasoning += parsed.text;
                break;
            case Kind::tool_start:
                if (parsed.tool_index >= calls_) break;
                choice.calls.push_back({std::move(parsed.id), std::move(parsed.name), {}});
                break;
            case Kind::tool_arguments:
                if (parsed.tool_index < calls_ && !choice.calls.empty()) choice.calls.back().arguments += parsed.text;
                break;
            case Kind::tool_end:
                break;
        }
    }
    if (delta.event->token >= 0) {
        if (params().return_token_ids) choice.token_ids.push_back(delta.event->token);
        append_logprob(choice.logprobs, delta);
    }
    if (!delta.event->prompt_logprobs.empty())
        choice.prompt_logprobs = prompt_logprobs_json(tokenizer(), delta.event->prompt_logprobs);
    if (delta.finish == Finish::none) return;
    choice.end = fmt::format(R"("finish_reason":"{}")", finish_name(delta.finish));
    append_stop_reason(choice.end, delta, params());
}

std::string ChatAnswer::whole() {
    std::string out = head_;
    JsonWriter json(out);
    json.key("choices").begin_array();
    for (size_t i = 0; i < choices_.size(); ++i) {
        const Choice& choice = choices_[i];
        json.begin_object().integer("index", static_cast<int64_t>(i)).key("message").begin_object();
        json.string("role", "assistant").key("content");
        if (choice.content.empty() && !choice.calls.empty())
            json.null();
        else
            json.string(choice.content);
        if (include_reasoning_ && !choice.reasoning.empty())
            json.string("reasoning", choice.reasoning).string("reasoning_content", choice.reasoning);
        if (!choice.calls.empty()) {
            json.key("tool_calls").begin_array();
            for (const Call& call : choice.calls) {
                json.begin_object().string("id", call.id).string("type", "function").key("function").begin_object();
                json.string("name", call.name).string("arguments", call.arguments).end_object().end_object();
            }
            json.end_array();
        }
        json.end_object().key("logprobs");
        if (params().sampling.logprobs >= 0)
            json.begin_object().key("content").raw("[" + choice.logprobs + "]").end_object();
        else
            json.null();
        json.raw(choice.end);
        if (params().return_token_ids) json.key("token_ids").raw(ids_json(choice.token_ids));
        json.end_object();
    }
    json.end_array();
    if (params().return_token_ids) json.key("prompt_token_ids").raw(ids_json(generation().spec().prompts.front().ids));
    if (!choices_.front().prompt_logprobs.empty()) json.key("prompt_logprobs").raw(choices_.front().prompt_logprobs);
    out += ',';
    append_usage(out, generation().usage());
    out += ',';
    append_timings(out, generation());
    out += '}';
    return out;
}

}  // namespace

Result<std::unique_ptr<Answer>> make_chat_answer(const HttpRequest& request, const std::string& body,
                                                 std::shared_ptr<const ServedModel> model, Services& services) {
    TRY(const text::Value value, parse_body(body));
    Fields fields(value.as_object());
    TRY(std::string model_name, read_model_name(fields, *model));
    ChatRequest chat = read_chat_request(fields, *model, services);
    TRY_VOID(finish_fields(fields, services));
    chat.model_name = std::move(model_name);

    auto rendered = render_chat_prompt(chat.prompt, *model);
    if (!rendered) {
        // The template has refused the messages; it does not know the field's name.
        Error error = std::move(rendered).error();
        if (error.code == ErrorCode::model_invalid) error.code = ErrorCode::invalid_request;
        if (error.param.empty()) error.param = "messages";
        return error;
    }
    TRY(std::vector<engine::TokenId> ids, encode_prompt(*model, rendered->text, chat.add_special_tokens, "messages"));
    if (ids.empty()) return Error{ErrorCode::invalid_request, "messages: make an empty prompt", "messages"};
    TRY_VOID(fit_to_context(chat.params, *model, ids.size(), "messages"));

    Generation::Spec spec{.model = model, .id = request.id, .params = chat.params};
    spec.prompts.push_back({.ids = std::move(ids)});
    spec.sampling.push_back(chat.params.sampling);
    if (model->output_format.reasoning != text::ReasoningFormat::none || chat.prompt.tools_active)
        spec.parser = text::OutputParserOptions{.format = model->output_format,
                                                .starts_in_reasoning = rendered->starts_in_reasoning,
                                                .thinking_disabled = chat.prompt.thinking_disabled,
                                                .tools = chat.prompt.input.tools,
                                                .id_seed = services.draw()};
    return std::unique_ptr<Answer>(std::make_unique<ChatAnswer>(std::move(spec), services, request, std::move(chat)));
}

}  // namespace nibble::server
