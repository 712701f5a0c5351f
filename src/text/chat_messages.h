// The messages of a request, brought to the form that chat templates are written for.
#pragma once

#include "base/result.h"
#include "text/value.h"

#include <array>
#include <cstddef>
#include <string_view>

namespace nibble::text {

constexpr std::array<std::string_view, 4> kTemplateRoles = {"system", "user", "assistant", "tool"};

// What a template can take, found out when it is parsed (chat_template.cpp).
struct MessageForm {
    bool knows_developer = false;
    std::array<bool, kTemplateRoles.size()> takes_parts{};  // content as a list of parts, by role
};

// Errors: invalid_request; Error::param names the field, e.g. messages[3].tool_calls[0].function.arguments.
Result<Value> prepare_messages(const Value& messages, const MessageForm& form);

size_t text_bytes(const Value& value);  // of all strings and keys in it

}  // namespace nibble::text
