// What Python's str methods do, on UTF-8 text: trimming, splitting, searching. Results are views into the argument.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::text::jinja {

enum class Side : uint8_t { left, right, both };

std::string_view strip(std::string_view s, Side side);                          // white space
std::string_view strip(std::string_view s, std::string_view chars, Side side);  // any of these characters

// str.split() and str.rsplit(): at white space, empty pieces dropped; at most `limit` times unless negative.
std::vector<std::string_view> split_words(std::string_view s, int64_t limit, bool from_right);
// str.split(separator): the separator is not empty.
std::vector<std::string_view> split_at(std::string_view s, std::string_view separator, int64_t limit, bool from_right);
std::vector<std::string_view> split_lines(std::string_view s, bool keep_ends);

// The first occurrence at or behind `from`, and the last one; npos when there is none. Linear, whatever the texts.
size_t find_first(std::string_view s, std::string_view part, size_t from = 0);
size_t find_last(std::string_view s, std::string_view part);

// str.replace: at most `limit` times unless negative; an empty `from` matches between all characters.
std::string replace(std::string_view s, std::string_view from, std::string_view to, int64_t limit);
int64_t count(std::string_view s, std::string_view part);  // not overlapping

}  // namespace nibble::text::jinja
