// What the tables of methods share.
#pragma once

#include "text/jinja/operations.h"

#include <span>

namespace nibble::text::jinja {

std::span<const Method> text_methods();  // of str, by name

// dict.fromkeys(keys, value)
bool dict_from_keys(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out);

bool is_lower_text(std::string_view s);  // str.islower
bool is_upper_text(std::string_view s);  // str.isupper
// `text` filled up to `width` characters; where it stands: 0 left, 1 centre, 2 right.
bool pad(Runtime& runtime, const Item& text, int64_t width, std::string_view fill, int where, Item& out);

}  // namespace nibble::text::jinja
