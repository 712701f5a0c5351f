#include "text/calls/json_stream.h"

#include <algorithm>

namespace nibble::text::calls {
namespace {

bool is_hex(char c) {
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

}  // namespace

size_t JsonStream::read(std::string_view text, bool is_final, JsonWriter& out) {
    size_t at = 0;
    while (at < text.size() && state_ == State::more) {
        if (in_string_) {
            at += read_string(text.substr(at), out);
        } else if (in_literal_) {
            at += read_literal(text.substr(at), is_final, out);
        } else if (const size_t space = space_at(text, at)) {
            at += space;
        } else {
            read_mark(text[at], out);
            if (state_ != State::broken && !in_literal_) at++;
        }
    }
    if (is_final && in_literal_ && state_ == State::more) read_literal({}, true, out);
    return at;
}

// A bracket, comma, colon, or the beginning of a string or literal (whose first character is left to be read).
void JsonStream::read_mark(char c, JsonWriter& out) {
    const bool value = expect_ == Expect::value || expect_ == Expect::value_or_end;
    const bool key = expect_ == Expect::key || expect_ == Expect::key_or_end;
    if (c == '"' && (value || key)) {
        in_string_ = true;
        is_key_ = key;
        token_.clear();
        if (value) out.begin_string();
    } else if ((c == '{' || c == '[') && value && brackets_.size() < kMaxDepth) {
        out.open(c);
        brackets_ += c == '{' ? '}' : ']';
        expect_ = c == '{' ? Expect::key_or_end : Expect::value_or_end;
    } else if (c == ',' && expect_ == Expect::comma_or_end) {
        expect_ = brackets_.back() == '}' ? Expect::key : Expect::value;
    } else if (c == ':' && expect_ == Expect::colon) {
        out.key(token_);
        expect_ = Expect::value;
    } else if ((c == '}' || c == ']') && !brackets_.empty() && brackets_.back() == c &&
               (expect_ == Expect::comma_or_end || expect_ == Expect::key_or_end || expect_ == Expect::value_or_end)) {
        out.close();
        brackets_.pop_back();
        value_ended();
    } else if (value && (c == '-' || (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z'))) {
        in_literal_ = true;
        token_.clear();
    } else {
        if (expect_ != Expect::colon) token_.clear();
        state_ = State::broken;
    }
}

std::string JsonStream::rejected() const {
    if (state_ != State::broken) return {};
    return expect_ == Expect::colon                                      ? '"' + token_ + '"'
           : expect_ == Expect::value || expect_ == Expect::value_or_end ? token_
                                                                         : std::string();
}

void JsonStream::value_ended() {
    if (brackets_.empty())
        state_ = State::done;
    else
        expect_ = Expect::comma_or_end;
}

size_t JsonStream::read_string(std::string_view text, JsonWriter& out) {
    if (!escape_.empty()) {
        const char c = text.front();
        const bool in_code = escape_.size() >= 2;
        if (in_code && !is_hex(c)) {
            write_escape(out);  // \u without its digits: as it stands
            return 0;
        }
        escape_ += c;
        if (escape_[1] != 'u' || escape_.size() == 6) write_escape(out);
        return 1;
    }
    const size_t end = std::min(text.find_first_of("\"\\"), text.size());
    if (end > 0) {
        if (is_key_)
            token_ += text.substr(0, end);
        else
            out.string_piece(text.substr(0, end));
        return end;
    }
    if (text.front() == '\\') {
        escape_ = '\\';
        return 1;
    }
    in_string_ = false;
    if (is_key_) {
        expect_ = Expect::colon;
    } else {
        out.end_string();
        value_ended();
    }
    return 1;
}

void JsonStream::write_escape(JsonWriter& out) {
    constexpr std::string_view kKnown = "\"\\/bfnrt";
    const bool valid =
        escape_.size() == 6 || (escape_.size() == 2 && kKnown.find(escape_[1]) != std::string_view::npos);
    if (is_key_) {
        auto decoded = valid ? parse_json('"' + escape_ + '"') : Result<Value>(Error{});
        token_ += decoded ? decoded->as_string() : escape_;
    } else if (valid) {
        out.string_escaped(escape_);
    } else {
        out.string_piece(escape_);
    }
    escape_.clear();
}

size_t JsonStream::read_literal(std::string_view text, bool is_final, JsonWriter& out) {
    const size_t end = std::min(text.find_first_of(",]}: \n\t\r\"[{"), text.size());
    token_ += text.substr(0, end);
    if (token_.size() > kMaxToken) state_ = State::broken;
    if (end == text.size() && !is_final) return end;
    in_literal_ = false;
    if (token_ == "True" || token_ == "False") token_[0] = static_cast<char>(token_[0] | 0x20);
    if (token_ == "None") token_ = "null";
    if (state_ == State::broken || !parse_json(token_)) {
        state_ = State::broken;
    } else {
        out.scalar(token_);
        value_ended();
    }
    return end;
}

}  // namespace nibble::text::calls
