#include "server/tokenize.h"

#include "server/chat_prompt.h"
#include "server/json_writer.h"
#include "server/logprobs.h"
#include "server/openai_wire.h"

#include <fmt/format.h>

namespace nibble::server {
namespace {

// A chat request sent here as it is may carry its sampling fields; only its messages matter.
void read_as_chat(Fields& fields, const ServedModel& model) {
    read_generation_fields(fields, model, {.chat = true}, 0);
    fields.without_effect("logprobs");
    fields.without_effect("top_logprobs");
    fields.without_effect("include_reasoning");
}

Result<std::string> render(Fields& fields, const ServedModel& model, const ChatPrompt& prompt, Services& services) {
    TRY_VOID(finish_fields(fields, services));
    auto rendered = render_chat_prompt(prompt, model);
    if (!rendered) {
        Error error = std::move(rendered).error();
        if (error.code == ErrorCode::model_invalid) error.code = ErrorCode::invalid_request;
        if (error.param.empty()) error.param = "messages";
        return error;
    }
    return std::move(rendered->text);
}

}  // namespace

Result<HttpReply> tokenize(const std::string& body, const ServedModel& model, Services& services) {
    TRY(const text::Value value, parse_body(body));
    Fields fields(value.as_object());
    TRY_VOID(read_model_name(fields, model));
    const bool strings = fields.boolean("return_token_strs").value_or(false);
    const auto add_special = fields.boolean("add_special_tokens");
    std::string text;
    std::string_view field = "prompt";
    if (value.find("messages") && !value.find("messages")->is_none()) {
        field = "messages";
        const ChatPrompt prompt = read_chat_prompt(fields, model);
        read_as_chat(fields, model);
        TRY(text, render(fields, model, prompt, services));
    } else {
        const auto prompt = fields.string("prompt");
        if (fields.ok() && !prompt) fields.fail("prompt", "a string is required, or messages");
        TRY_VOID(finish_fields(fields, services));
        text = *prompt;
    }
    // A template writes the special tokens itself.
    TRY(const std::vector<engine::TokenId> ids,
        encode_prompt(model, text, add_special.value_or(field == "prompt"), field));

    HttpReply reply;
    JsonWriter json(reply.body);
    json.begin_object().integer("count", static_cast<int64_t>(ids.size()));
    json.integer("max_model_len", model.max_context);
    json.key("tokens").raw(ids_json(ids)).key("token_strs");
    if (strings) {
        json.begin_array();
        for (const engine::TokenId id : ids) json.string(model.tokenizer->token_piece(id));
        json.end_array();
    } else {
        json.null();
    }
    json.end_object();
    return reply;
}

Result<HttpReply> detokenize(const std::string& body, const ServedModel& model, Services& services) {
    TRY(const text::Value value, parse_body(body));
    Fields fields(value.as_object());
    TRY_VOID(read_model_name(fields, model));
    const text::Array* tokens = fields.array("tokens", std::numeric_limits<size_t>::max());
    const bool skip_special = fields.boolean("skip_special_tokens").value_or(false);
    if (fields.ok() && !tokens) fields.fail("tokens", "a list of token ids is required");
    TRY_VOID(finish_fields(fields, services));
    std::vector<engine::TokenId> ids;
    ids.reserve(tokens->size());
    for (size_t i = 0; i < tokens->size(); ++i) {
        const auto id = integral((*tokens)[i]);
        if (!id || *id < 0 || *id >= model.vocab_size)
            return Error{ErrorCode::invalid_request,
                         fmt::format("tokens[{}]: expected a token id in [0, {}], found {}", i, model.vocab_size - 1,
                                     describe((*tokens)[i])),
                         "tokens"};
        ids.push_back(static_cast<engine::TokenId>(*id));
    }
    HttpReply reply;
    JsonWriter(reply.body).begin_object().string("prompt", model.tokenizer->decode(ids, skip_special)).end_object();
    return reply;
}

Result<HttpReply> apply_template(const std::string& body, const ServedModel& model, Services& services) {
    TRY(const text::Value value, parse_body(body));
    Fields fields(value.as_object());
    TRY_VOID(read_model_name(fields, model));
    const ChatPrompt prompt = read_chat_prompt(fields, model);
    read_as_chat(fields, model);
    TRY(const std::string text, render(fields, model, prompt, services));
    HttpReply reply;
    JsonWriter(reply.body).begin_object().string("prompt", text).end_object();
    return reply;
}

}  // namespace nibble::server
