// ChatTemplate: messages and tools to the prompt text that the model was trained on.
//
// Takes the checkpoint's own template: chat_template.jinja, else chat_template in tokenizer_config.json (a string, or a
// list of {name, template}: "default", and "tool_use" when tools are given), or a file named by the user. Immutable.
#pragma once

#include "base/result.h"
#include "text/jinja.h"
#include "text/value.h"

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace nibble::text {

struct ChatInput {
    Value messages;  // array of objects as in the request; arguments of tool calls given as JSON text are parsed here
    Value tools;     // array, or none
    bool add_generation_prompt = true;
    bool continue_final_message = false;  // the last message is left open, to be continued by the model
    Value template_kwargs;                // object of chat_template_kwargs (enable_thinking, ...), or none
};

class ChatTemplate {
public:
    // bos/eos are the tokenizer's strings. not_found when the folder holds no template (the caller decides).
    static Result<std::shared_ptr<const ChatTemplate>> load(const std::filesystem::path& folder, std::string bos,
                                                            std::string eos);
    static Result<std::shared_ptr<const ChatTemplate>> parse(std::string_view source, std::string_view name,
                                                             std::string bos, std::string eos);
    // Errors: invalid_request when the template refuses the messages (raise_exception) or a kwarg is not allowed.
    Result<std::string> render(const ChatInput& input) const;

    const std::string& source() const;  // of the default template: what output_parser.h looks at to choose a format
    bool supports_tools() const;        // the source mentions `tools`
    bool supports_thinking() const;     // the source mentions `enable_thinking`

private:
    struct State;
    explicit ChatTemplate(std::unique_ptr<const State> state);
    std::shared_ptr<const State> state_;
};

}  // namespace nibble::text
