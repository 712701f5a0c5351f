// ChatTemplate: messages and tools to the prompt text that the model was trained on.
//
// Takes the checkpoint's own template: chat_template.jinja (and additional_chat_templates/NAME.jinja), else
// chat_template in tokenizer_config.json or chat_template.json (a string, or a list of {name, template}: "default", and
// "tool_use" when tools are given), or a file named by the user. Renders as Python's apply_chat_template does, whose
// variables it gives: messages, tools, documents (none), add_generation_prompt, the special tokens, and the kwargs.
// Immutable; any thread.
#pragma once

#include "base/folder.h"
#include "base/result.h"
#include "text/jinja.h"
#include "text/value.h"

#include <map>
#include <memory>
#include <optional>
#include <string>

namespace nibble::text {

struct ChatInput {
    // Array of objects as in the request. Before the template sees them: arguments of tool calls given as JSON text are
    // parsed; reasoning_content is filled from reasoning or thinking; the role developer becomes system where the
    // template does not know it; content given in parts of text becomes one string (joined by newlines) for a role of
    // which the template takes no parts.
    Value messages;
    Value tools;  // array, or none; an empty array counts as none
    bool add_generation_prompt = true;
    bool continue_final_message = false;  // the last message is left open, to be continued by the model
    Value template_kwargs;                // object of chat_template_kwargs (enable_thinking, ...), or none
};

class ChatTemplate {
public:
    // bos/eos are the tokenizer's strings. not_found when the folder holds no template (the caller decides).
    static Result<std::shared_ptr<const ChatTemplate>> load(const Folder& folder, std::string bos, std::string eos);
    static Result<std::shared_ptr<const ChatTemplate>> parse(std::string_view source, std::string_view name,
                                                             std::string bos, std::string eos);
    // The text is limited to 4 times the input + 1 MiB. Errors: invalid_request when the template refuses the messages
    // (raise_exception, or an operation that the data does not allow), a kwarg is reserved, arguments of a tool call
    // are no JSON object, a part of content is not text and the template takes no such parts; Error::param names the
    // field. model_invalid when the template itself is at fault.
    Result<std::string> render(const ChatInput& input) const;

    const std::string& source() const;  // of the default template: what output_parser.h looks at to choose a format
    bool supports_tools() const;        // the source mentions `tools`
    bool supports_thinking() const;     // the source mentions `enable_thinking`

    ~ChatTemplate();

private:
    struct State;
    explicit ChatTemplate(std::unique_ptr<const State> state);
    std::unique_ptr<const State> state_;
};

}  // namespace nibble::text
