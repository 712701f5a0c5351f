// JsonStream: one JSON value, read as it arrives and passed on to a JsonWriter as soon as it is certain.
//
// As models write it: raw line ends in strings, unknown escapes and Python's True, False, None are accepted.
#pragma once

#include "text/calls/call_reader.h"

#include <cstddef>
#include <string>
#include <string_view>

namespace nibble::text::calls {

class JsonStream {
public:
    enum class State { more, done, broken };
    // Consumes what belongs to the value; what it read is in `out` but for a token that has not ended.
    size_t read(std::string_view text, bool is_final, JsonWriter& out);
    State state() const { return state_; }
    // When it broke: what was consumed and is not in `out`.
    std::string rejected() const;

private:
    enum class Expect { value, value_or_end, key, key_or_end, colon, comma_or_end };
    static constexpr size_t kMaxDepth = 128;
    static constexpr size_t kMaxToken = 400;

    size_t read_string(std::string_view text, JsonWriter& out);
    size_t read_literal(std::string_view text, bool is_final, JsonWriter& out);
    void read_mark(char c, JsonWriter& out);
    void write_escape(JsonWriter& out);
    void value_ended();

    State state_ = State::more;
    Expect expect_ = Expect::value;
    std::string brackets_;  // the closing ones
    bool in_string_ = false, is_key_ = false, in_literal_ = false;
    std::string token_;   // a key, or a literal, so far
    std::string escape_;  // an escape in a string, so far
};

}  // namespace nibble::text::calls
