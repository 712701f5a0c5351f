// One member of a JSON object read or replaced as text: everything else of a config keeps its bytes, its order, and the
// literals (Infinity) that transformers writes and JSON writers refuse. Pure.
#pragma once

#include "base/result.h"

#include <string>
#include <string_view>

namespace nibble::checkpoint {

// A string with its quotes.
std::string json_string(std::string_view text);

// The value's text. Errors (both): model_invalid, naming `where`, when the text is no object or has no such member.
Result<std::string> json_member(std::string_view object, std::string_view member, std::string_view where);

// The object with the member's value replaced, or added as its last.
Result<std::string> with_json_member(std::string_view object, std::string_view member, std::string_view value,
                                     std::string_view where);

}  // namespace nibble::checkpoint
