// Gemma4Calls: <|tool_call>call:NAME{key:value,…}<tool_call|>
//
// value: <|"|>text<|"|>, {…}, […], true, false, null (none, nil), a number, or any other word as a string. Strings are
// passed on as they come. Where the body breaks, the call is closed and the rest is text.
#pragma once

#include "text/calls/call_reader.h"

#include <string>
#include <string_view>

namespace nibble::text::calls {

class Gemma4Calls {
public:
    explicit Gemma4Calls(const Functions& functions) : functions_(functions), writer_(json_) {}

    Match begins(std::string_view text, bool is_final, bool strict) const;
    size_t read(std::string_view text, bool is_final, bool strict, Sink& sink);
    bool open() const { return place_ != Place::outside; }

private:
    enum class Place { outside, key_or_end, key, value_or_end, value, comma_or_end, string, quoted, word, after_body };

    Match opening(std::string_view text, size_t& length, std::string_view& name) const;
    size_t read_body(std::string_view text, bool is_final, Sink& sink, bool& stuck);
    size_t read_key(std::string_view text, bool is_final, bool& stuck);
    size_t read_string(std::string_view text, bool is_final, bool& stuck);
    size_t read_quoted(std::string_view text);
    size_t read_word(std::string_view text, bool is_final);
    size_t begin_value(std::string_view text, bool is_final, bool& stuck);
    void close_bracket();
    void word_ended();
    void break_off(Sink& sink);
    void flush(Sink& sink);

    const Functions& functions_;
    Place place_ = Place::outside;
    std::string json_;  // written, not yet passed on
    JsonWriter writer_;
    std::string token_;     // a key or a word, so far
    bool escaped_ = false;  // a backslash came in a quoted string
    bool broken_ = false;
};

}  // namespace nibble::text::calls
