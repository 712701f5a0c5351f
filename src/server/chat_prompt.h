// ChatPrompt: messages, tools and template switches of a request, checked and brought to the form that templates know.
//
// Here the request's fields are named where they are wrong, and content that is not text is refused; how messages are
// fitted to a template (roles, parts, arguments) is text/chat_template's. Used by chat completions, /tokenize and
// /apply-template. Any thread.
#pragma once

#include "base/result.h"
#include "engine/request.h"
#include "server/fields.h"
#include "server/served_model.h"
#include "text/chat_template.h"

#include <string>
#include <vector>

namespace nibble::server {

struct ChatPrompt {
    text::ChatInput input;
    bool tools_active = false;       // calls are looked for in the answer
    bool parallel_calls = true;      // false: only the first call of an answer is given
    bool thinking_disabled = false;  // by the request, where the template has the switch
};

// Mistakes are left in `fields`.
ChatPrompt read_chat_prompt(Fields& fields, const ServedModel& model);

struct RenderedPrompt {
    std::string text;
    bool starts_in_reasoning = false;  // the prompt ends inside an open <think>
};
Result<RenderedPrompt> render_chat_prompt(const ChatPrompt& prompt, const ServedModel& model);

// Text to ids, within the limit on its length. Errors name `field`.
Result<std::vector<engine::TokenId>> encode_prompt(const ServedModel& model, std::string_view text,
                                                   bool add_special_tokens, std::string_view field);

}  // namespace nibble::server
