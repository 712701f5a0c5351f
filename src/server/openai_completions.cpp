#include "server/openai_completions.h"

#include "server/chat_prompt.h"
#include "server/generation_answer.h"
#include "server/json_writer.h"
#include "server/logprobs.h"
#include "server/openai_wire.h"

#include <fmt/format.h>

namespace nibble::server {
namespace {

struct CompletionsRequest {
    std::string model_name;
    GenerationParams params;
    bool echo = false;
    bool add_special_tokens = true;
};

// Ids are taken as they are; text becomes ids.
Result<GenerationPrompt> read_ids(const text::Array& list, const ServedModel& model, const std::string& path,
                                  bool want_text, bool skip_special_tokens) {
    GenerationPrompt prompt;
    prompt.ids.reserve(list.size());
    for (size_t i = 0; i < list.size(); ++i) {
        const auto id = integral(list[i]);
        if (!id || *id < 0 || *id >= model.vocab_size)
            return Error{ErrorCode::invalid_request,
                         fmt::format("{}[{}]: expected a token id in [0, {}], found {}", path, i, model.vocab_size - 1,
                                     describe(list[i])),
                         "prompt"};
        prompt.ids.push_back(static_cast<engine::TokenId>(*id));
    }
    if (want_text) prompt.text = model.tokenizer->decode(prompt.ids, skip_special_tokens);
    return prompt;
}

Result<std::vector<GenerationPrompt>> read_prompts(const text::Value* given, const ServedModel& model,
                                                   const CompletionsRequest& request) {
    const Error shape{ErrorCode::invalid_request,
                      fmt::format("prompt: expected a string, a list of strings, a list of token ids, or a list of "
                                  "lists of token ids, found {}",
                                  given ? describe(*given) : "nothing"),
                      "prompt"};
    std::vector<GenerationPrompt> prompts;
    const auto add_text = [&](const std::string& text, std::string_view path) -> Result<void> {
        TRY(std::vector<engine::TokenId> ids, encode_prompt(model, text, request.add_special_tokens, path));
        prompts.push_back({.ids = std::move(ids), .text = request.echo ? text : std::string()});
        return {};
    };
    const auto add_ids = [&](const text::Array& list, const std::string& path) -> Result<void> {
        TRY(GenerationPrompt prompt, read_ids(list, model, path, request.echo, request.params.skip_special_tokens));
        prompts.push_back(std::move(prompt));
        return {};
    };
    if (given && given->is_string()) {
        TRY_VOID(add_text(given->as_string(), "prompt"));
    } else if (given && given->is_array() && !given->as_array().empty()) {
        const text::Array& list = given->as_array();
        if (integral(list.front())) {
            TRY_VOID(add_ids(list, "prompt"));
        } else {
            if (list.size() > static_cast<size_t>(model.limits.prompts))
                return Error{
                    ErrorCode::invalid_request,
                    fmt::format("prompt: expected at most {} prompts, found {}", model.limits.prompts, list.size()),
                    "prompt"};
            for (size_t i = 0; i < list.size(); ++i) {
                const std::string path = fmt::format("prompt[{}]", i);
                if (list[i].is_string())
                    TRY_VOID(add_text(list[i].as_string(), path));
                else if (list[i].is_array())
                    TRY_VOID(add_ids(list[i].as_array(), path));
                else
                    return shape;
            }
        }
    } else {
        return shape;
    }
    for (const GenerationPrompt& prompt : prompts)
        if (prompt.ids.empty()) return Error{ErrorCode::invalid_request, "prompt: is empty", "prompt"};
    return prompts;
}

CompletionsRequest read_request(Fields& fields, const ServedModel& model, Services& services) {
    CompletionsRequest request;
    request.params = read_generation_fields(fields, model, {.chat = false}, services.draw());
    request.echo = fields.boolean("echo").value_or(false);
    request.add_special_tokens = fields.boolean("add_special_tokens").value_or(true);
    if (const auto k = fields.integer("logprobs", 0, model.limits.top_logprobs)) {
        request.params.sampling.logprobs = static_cast<int>(*k);
        // The prompt is scored when it is shown.
        if (request.echo)
            request.params.sampling.prompt_logprobs =
                std::max(request.params.sampling.prompt_logprobs, static_cast<int>(*k));
    }
    if (const auto suffix = fields.string("suffix"); suffix && !suffix->empty())
        fields.unsupported("suffix", "filling in the middle is not supported");
    return request;
}

class CompletionsAnswer final : public GenerationAnswer {
public:
    CompletionsAnswer(Generation::Spec spec, Services& services, const HttpRequest& request,
                      const CompletionsRequest& completions, bool wants_prompt_logprobs)
        : GenerationAnswer(std::move(spec), services, request, "completions"),
          echo_(completions.echo),
          wants_prompt_logprobs_(wants_prompt_logprobs),
          logprobs_(completions.params.sampling.logprobs),
          head_(openai_head("cmpl-" + request.id, "text_completion", unix_seconds(), completions.model_name)) {
        for (int64_t i = 0; i < generation().choices(); ++i)
            choices_.push_back(Choice{.logprobs = CompletionLogprobs(tokenizer(), params().tokens_as_ids)});
    }

private:
    struct Choice {
        std::string text;
        CompletionLogprobs logprobs;
        std::vector<engine::TokenId> token_ids;
        std::string prompt_logprobs;
        std::string end;  // finish_reason and what follows it
    };

    void write_delta(std::string& events, GenerationDelta& delta) override;
    void write_end(std::string& events) override;
    void write_error(std::string& events, const ApiError& error) override { append_error_event(events, error); }
    void keep_delta(GenerationDelta& delta) override;
    std::string whole() override;
    HttpReply error_reply(const ApiError& error) override { return openai_error_reply(error); }

    const GenerationPrompt& prompt_of(int64_t choice) const {
        return generation().spec().prompts[static_cast<size_t>(choice / params().n)];
    }
    void add_logprobs(Choice& choice, const GenerationDelta& delta);

    bool echo_, wants_prompt_logprobs_;
    int logprobs_;
    std::string head_;
    std::vector<Choice> choices_;
};

// Of the prompt, before the first token, and of the token.
void CompletionsAnswer::add_logprobs(Choice& choice, const GenerationDelta& delta) {
    if (logprobs_ < 0) return;
    if (echo_ && !delta.event->prompt_logprobs.empty()) {
        const auto& prompt = delta.event->prompt_logprobs;
        choice.logprobs.add_unknown(prompt.front().chosen.token);
        for (size_t i = 1; i < prompt.size(); ++i) choice.logprobs.add(prompt[i].chosen, prompt[i].top, logprobs_);
    }
    if (delta.event->token >= 0 && delta.event->logprob)
        choice.logprobs.add(*delta.event->logprob, delta.event->top, logprobs_);
}

void CompletionsAnswer::write_delta(std::string& events, GenerationDelta& delta) {
    Choice& choice = choices_[static_cast<size_t>(delta.choice)];
    const auto open = [&] {
        events += "data: ";
        events += head_;
        events += R"("choices":[{"index":)";
        append_integer(events, delta.choice);
        events += R"(,"text":")";
    };
    const auto close = [&](bool with_token, bool last) {
        events += R"(","logprobs":)";
        events += choice.logprobs.empty() ? "null" : choice.logprobs.take();
        if (last) {
            events += R"(,"finish_reason":")";
            events += finish_name(delta.finish);
            events += '"';
            append_stop_reason(events, delta, params());
        } else {
            events += R"(,"finish_reason":null)";
        }
        if (params().return_token_ids) {
            if (delta.first && choice.token_ids.empty()) {
                events += R"(,"prompt_token_ids":)";
                events += ids_json(prompt_of(delta.choice).ids);
                choice.token_ids.push_back(-1);  // told
            }
            events += R"(,"token_ids":[)";
            if (with_token) append_integer(events, delta.event->token);
            events += ']';
        }
        events += "}]";
        if (params().continuous_usage) {
            events += ',';
            append_usage(events, {.prompt_tokens = static_cast<int64_t>(prompt_of(delta.choice).ids.size()),
                                  .completion_tokens = generation().choice_tokens(delta.choice),
                                  .cached_tokens = delta.event->cached_tokens});
        }
        if (last && generation().done() && !params().include_usage) {
            events += ',';
            append_timings(events, generation());
        }
        events += "}\n\n";
    };
    if (delta.first && echo_) {
        // The prompt goes ahead in a chunk of its own, with its logprobs.
        GenerationDelta prompt_only{.choice = delta.choice};
        engine::TokenEvent scores;
        scores.prompt_logprobs = delta.event->prompt_logprobs;
        prompt_only.event = &scores;
        add_logprobs(choice, prompt_only);
        open();
        append_json_escaped(events, prompt_of(delta.choice).text);
        close(false, false);
    }
    if (logprobs_ >= 0 && delta.event->token >= 0 && delta.event->logprob)
        choice.logprobs.add(*delta.event->logprob, delta.event->top, logprobs_);
    bool token_told = delta.event->token < 0;
    if (delta.token_visible || !delta.piece.text.empty()) {
        open();
        append_json_escaped(events, delta.piece.text);
        close(!std::exchange(token_told, true), false);
    }
    if (delta.finish == Finish::none) return;
    open();
    close(!token_told, true);
}

void CompletionsAnswer::write_end(std::string& events) {
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

void CompletionsAnswer::keep_delta(GenerationDelta& delta) {
    Choice& choice = choices_[static_cast<size_t>(delta.choice)];
    if (delta.first && echo_) choice.text = prompt_of(delta.choice).text;
    choice.text += delta.piece.text;
    add_logprobs(choice, delta);
    if (delta.event->token >= 0 && params().return_token_ids) choice.token_ids.push_back(delta.event->token);
    if (wants_prompt_logprobs_ && !delta.event->prompt_logprobs.empty())
        choice.prompt_logprobs = prompt_logprobs_json(tokenizer(), delta.event->prompt_logprobs);
    if (delta.finish == Finish::none) return;
    choice.end = fmt::format(R"("finish_reason":"{}")", finish_name(delta.finish));
    append_stop_reason(choice.end, delta, params());
}

std::string CompletionsAnswer::whole() {
    std::string out = head_;
    JsonWriter json(out);
    json.key("choices").begin_array();
    for (size_t i = 0; i < choices_.size(); ++i) {
        Choice& choice = choices_[i];
        json.begin_object().integer("index", static_cast<int64_t>(i)).string("text", choice.text).key("logprobs");
        if (logprobs_ >= 0)
            json.raw(choice.logprobs.take());
        else
            json.null();
        json.raw(choice.end);
        if (params().return_token_ids) {
            json.key("token_ids").raw(ids_json(choice.token_ids));
            json.key("prompt_token_ids").raw(ids_json(prompt_of(static_cast<int64_t>(i)).ids));
        }
        if (!choice.prompt_logprobs.empty()) json.key("prompt_logprobs").raw(choice.prompt_logprobs);
        json.end_object();
    }
    json.end_array();
    out += ',';
    append_usage(out, generation().usage());
    out += ',';
    append_timings(out, generation());
    out += '}';
    return out;
}

}  // namespace

Result<std::unique_ptr<Answer>> make_completions_answer(const HttpRequest& request, const std::string& body,
                                                        std::shared_ptr<const ServedModel> model, Services& services) {
    TRY(const text::Value value, parse_body(body));
    Fields fields(value.as_object());
    TRY(std::string model_name, read_model_name(fields, *model));
    CompletionsRequest completions = read_request(fields, *model, services);
    const bool wants_prompt_logprobs = fields.any("prompt_logprobs") != nullptr;
    const text::Value* prompt = fields.any("prompt");
    TRY_VOID(finish_fields(fields, services));
    completions.model_name = std::move(model_name);
    TRY(std::vector<GenerationPrompt> prompts, read_prompts(prompt, *model, completions));

    Generation::Spec spec{.model = model, .id = request.id, .params = completions.params};
    for (const GenerationPrompt& one : prompts) {
        GenerationParams params = completions.params;
        TRY_VOID(fit_to_context(params, *model, one.ids.size(), "prompt"));
        spec.sampling.push_back(std::move(params.sampling));
    }
    spec.prompts = std::move(prompts);
    return std::unique_ptr<Answer>(
        std::make_unique<CompletionsAnswer>(std::move(spec), services, request, completions, wants_prompt_logprobs));
}

}  // namespace nibble::server
