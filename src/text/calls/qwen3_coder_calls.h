// Qwen3CoderCalls: <tool_call> <function=NAME> <parameter=KEY>value</parameter> … </function> </tool_call>
//
// Also accepts what models leave out: <tool_call> before the name of a function that exists, and any of the closing
// tags. A value loses one newline at each end. Values of type string are passed on as they come.
#pragma once

#include "text/calls/argument_type.h"
#include "text/calls/call_reader.h"

#include <optional>
#include <string>
#include <string_view>

namespace nibble::text::calls {

class Qwen3CoderCalls {
public:
    explicit Qwen3CoderCalls(const Functions& functions) : functions_(functions), writer_(json_) {}

    Match begins(std::string_view text, bool is_final, bool strict) const;
    size_t read(std::string_view text, bool is_final, bool strict, Sink& sink);
    bool open() const { return place_ != Place::outside; }

private:
    enum class Place { outside, between, value, after_function };

    Match opening(std::string_view text, bool strict, size_t& length, std::string_view& name) const;
    size_t read_between(std::string_view text, bool is_final, Sink& sink, bool& stuck);
    size_t read_value(std::string_view text, bool is_final, Sink& sink, bool& stuck);
    size_t read_after_function(std::string_view text, bool is_final, Sink& sink, bool& stuck);
    void start(std::string_view name, Sink& sink);
    void end_call(Sink& sink);
    void begin_value(std::string_view key);
    void value_text(std::string_view text);
    void end_value();
    void flush(Sink& sink);

    const Functions& functions_;
    Place place_ = Place::outside;
    std::string function_;
    std::string json_;  // written, not yet passed on
    JsonWriter writer_;
    std::optional<ArgumentType> type_;
    std::string raw_;            // of a value that is converted at its end
    bool stray_ = false;         // text that is no markup came since the last marker: its white space is kept
    bool value_start_ = false;   // nothing of the value yet: a newline is dropped
    bool newline_held_ = false;  // perhaps the last one of the value
};

}  // namespace nibble::text::calls
