// Unicode as Python's str sees it: what is a space, a line end, a letter; upper, lower and title case of whole strings.
//
// Strings are UTF-8 in memory; positions are byte offsets here, and code points only where a function says so. Bytes
// that are no UTF-8 count as one code point each (U+FFFD) and are copied unchanged. Pure functions, any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace nibble::text::jinja {

// The code point that starts at s[at] (at < s.size()); `at` moves behind it.
char32_t next_code_point(std::string_view s, size_t& at);
void append_utf8(std::string& out, char32_t code_point);  // a surrogate or a value over 0x10ffff becomes U+FFFD
bool valid_utf8(std::string_view s);

size_t code_points(std::string_view s);  // Python's len()
// The byte offset of code point `index`, s.size() when there are fewer.
size_t byte_offset(std::string_view s, size_t index);
bool is_ascii(std::string_view s);

bool is_space(char32_t c);      // str.isspace, str.strip, \s
bool is_line_end(char32_t c);   // str.splitlines
bool is_printable(char32_t c);  // what repr() leaves as it is
bool is_alpha(char32_t c);
bool is_decimal(char32_t c);
bool is_digit(char32_t c);
bool is_numeric(char32_t c);
bool is_lower(char32_t c);
bool is_upper(char32_t c);
bool is_title(char32_t c);
bool is_word(char32_t c);  // \w
bool is_identifier(std::string_view s);
inline bool is_cased(char32_t c) {
    return is_lower(c) || is_upper(c) || is_title(c);
}

std::string to_upper(std::string_view s);
std::string to_lower(std::string_view s);
std::string to_title(std::string_view s);        // str.title(): every word
std::string to_capitalized(std::string_view s);  // str.capitalize()
std::string swap_case(std::string_view s);
std::string fold_case(std::string_view s);

}  // namespace nibble::text::jinja
