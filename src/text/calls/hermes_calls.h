// HermesCalls: <tool_call>{"name": NAME, "arguments": {…}}</tool_call>
//
// Arguments are passed on as they come once the name is known. What is no such object stays text, unless the call has
// already begun: then its arguments are closed where they broke, and the rest is text.
#pragma once

#include "text/calls/json_stream.h"

#include <string>
#include <string_view>

namespace nibble::text::calls {

class HermesCalls {
public:
    explicit HermesCalls(const Functions& functions) : functions_(functions), live_(json_), side_(scratch_) {}

    Match begins(std::string_view text, bool is_final, bool strict) const;
    size_t read(std::string_view text, bool is_final, bool strict, Sink& sink);
    bool open() const { return place_ != Place::outside; }

private:
    enum class Place { outside, key_or_end, key, colon, value, comma_or_end, after_object };

    size_t read_object(std::string_view text, bool is_final, Sink& sink);
    size_t read_key(std::string_view text, bool is_final);
    size_t read_value(std::string_view text, bool is_final, Sink& sink);
    void member_ended();
    void object_ended(Sink& sink);
    void give_up(Sink& sink);
    bool may_start() const { return !name_.empty() && (!strict_ || functions_.known(name_)); }
    void flush(Sink& sink);

    const Functions& functions_;
    Place place_ = Place::outside;
    bool strict_ = false, started_ = false, streaming_ = false, value_begun_ = false;
    std::string raw_;  // the text of the call until it is certain
    std::string name_, key_, arguments_;
    JsonStream stream_;
    std::string json_, scratch_;  // written of the arguments, and of any other member
    JsonWriter live_, side_;
};

}  // namespace nibble::text::calls
