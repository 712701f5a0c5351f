// in_quotes: text from a file or a request, made safe to stand in a message: in quotes, control characters escaped,
// cut.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace nibble {
inline namespace base {

// 'model.layers.0' ; longer than `limit` bytes: the beginning and "…". Bytes that are not UTF-8 appear as \xNN.
std::string in_quotes(std::string_view text, size_t limit = 120);

}  // namespace base
}  // namespace nibble
