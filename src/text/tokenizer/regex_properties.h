// The character properties that a regular expression may name: \p{Lu}, \p{Han}, [:alpha:], …
#pragma once

#include "text/tokenizer/char_set.h"

#include <optional>
#include <string_view>

namespace nibble::text {

// By Oniguruma's names: general categories, scripts by their full names, the POSIX classes and a few binary properties;
// letter case, '_', '-' and ' ' make no difference. Nothing for any other name.
std::optional<CharSet> regex_property(std::string_view name);

}  // namespace nibble::text
