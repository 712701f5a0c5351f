#include "text/calls/gemma4_calls.h"

#include <algorithm>

namespace nibble::text::calls {
namespace {

constexpr std::string_view kCall = "<|tool_call>", kCallWord = "call:", kCallEnd = "<tool_call|>", kQuote = "<|\"|>";
constexpr size_t kMaxDepth = 128;

bool is_name(char c) {
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_' || c == '-' || c == '.' ||
           static_cast<unsigned char>(c) >= 0x80;
}

bool is_word(std::string_view text, std::string_view lower) {
    return text.size() == lower.size() &&
           std::equal(text.begin(), text.end(), lower.begin(), [](char a, char b) { return (a | 0x20) == b; });
}

}  // namespace

Match Gemma4Calls::opening(std::string_view text, size_t& length, std::string_view& name) const {
    const Match match = starts_with(text, kCall);
    if (match != Match::yes) return match;
    const size_t space = space_at(text, kCall.size());
    if (space > kMaxSpace) return Match::no;
    const size_t word = kCall.size() + space;
    if (word == text.size()) return Match::maybe;
    if (const Match m = starts_with(text.substr(word), kCallWord); m != Match::yes) return m;
    size_t end = word + kCallWord.size();
    const size_t begin = end;
    while (end < text.size() && is_name(text[end])) end++;
    if (end - begin > kMaxName) return Match::no;
    if (end == text.size()) return Match::maybe;
    if (text[end] != '{' || end == begin) return Match::no;
    name = text.substr(begin, end - begin);
    length = end + 1;
    return Match::yes;
}

Match Gemma4Calls::begins(std::string_view text, bool is_final, bool strict) const {
    size_t length = 0;
    std::string_view name;
    const Match match = opening(text, length, name);
    if (match == Match::maybe && is_final) return Match::no;
    return match == Match::yes && strict && !functions_.known(name) ? Match::no : match;
}

void Gemma4Calls::flush(Sink& sink) {
    if (!json_.empty()) sink.arguments(json_);
    json_.clear();
}

void Gemma4Calls::break_off(Sink& sink) {
    writer_.finish();
    flush(sink);
    sink.end();
    if (broken_ && place_ == Place::key) sink.stray(token_);
    place_ = Place::outside;
    broken_ = false;
}

size_t Gemma4Calls::read(std::string_view text, bool is_final, bool, Sink& sink) {
    size_t at = 0;
    if (place_ == Place::outside) {
        std::string_view name;
        opening(text, at, name);
        sink.start(name);
        writer_.reset();
        writer_.open('{');
        place_ = Place::key_or_end;
    }
    for (bool stuck = false; open() && !stuck && at < text.size();) {
        at += read_body(text.substr(at), is_final, sink, stuck);
        if (broken_) break_off(sink);
    }
    if (is_final && open()) {
        if (place_ == Place::word) word_ended();
        if (place_ != Place::after_body) break_off(sink);
        place_ = Place::outside;
    }
    flush(sink);
    return at;
}

size_t Gemma4Calls::read_body(std::string_view text, bool is_final, Sink& sink, bool& stuck) {
    if (place_ == Place::string) return read_string(text, is_final, stuck);
    if (place_ == Place::quoted) return read_quoted(text);
    if (place_ == Place::word) return read_word(text, is_final);
    if (place_ == Place::key) return read_key(text, is_final, stuck);
    if (const size_t space = space_at(text, 0)) return space;
    const char c = text.front();
    switch (place_) {
        case Place::key_or_end:
            if (c == '}') {
                close_bracket();
            } else {
                token_.clear();
                place_ = Place::key;
                return 0;
            }
            break;
        case Place::value_or_end:
            if (c == ']') {
                close_bracket();
                break;
            }
            return begin_value(text, is_final, stuck);
        case Place::value:
            return begin_value(text, is_final, stuck);
        case Place::comma_or_end:
            if (c == ',')
                place_ = writer_.in_object() ? Place::key_or_end : Place::value_or_end;
            else if (c == (writer_.in_object() ? '}' : ']'))
                close_bracket();
            else
                broken_ = true;
            break;
        default: {
            const Match match = starts_with(text, kCallEnd);
            if (match == Match::maybe && !is_final) {
                stuck = true;
                return 0;
            }
            place_ = Place::outside;
            return match == Match::yes ? kCallEnd.size() : 0;
        }
    }
    if (broken_) return 0;
    if (writer_.depth() == 0) {
        flush(sink);
        sink.end();
        place_ = Place::after_body;
    }
    return 1;
}

void Gemma4Calls::close_bracket() {
    writer_.close();
    place_ = Place::comma_or_end;
}

// A key: a bare word or a quoted text, up to its colon.
size_t Gemma4Calls::read_key(std::string_view text, bool is_final, bool& stuck) {
    const size_t end = std::min(text.find_first_of(":,{}[]<"), text.size());
    token_ += text.substr(0, end);
    if (token_.size() > kMaxName) broken_ = true;
    if (broken_ || end == text.size()) return end;
    if (text[end] == ':') {
        writer_.key(trimmed(token_));
        place_ = Place::value;
        return end + 1;
    }
    const Match quote = starts_with(text.substr(end), kQuote);
    if (quote == Match::yes) return end + kQuote.size();
    if (quote == Match::maybe && !is_final) {
        stuck = true;
        return end;
    }
    broken_ = true;
    return end;
}

size_t Gemma4Calls::begin_value(std::string_view text, bool is_final, bool& stuck) {
    const char c = text.front();
    const Match quote = starts_with(text, kQuote);
    if (quote == Match::yes) {
        writer_.begin_string();
        place_ = Place::string;
        return kQuote.size();
    }
    if (quote == Match::maybe && !is_final) {
        stuck = true;
        return 0;
    }
    if (c == '{' || c == '[') {
        if (writer_.depth() >= kMaxDepth) {
            broken_ = true;
            return 0;
        }
        writer_.open(c);
        place_ = c == '{' ? Place::key_or_end : Place::value_or_end;
        return 1;
    }
    if (c == '"') {
        writer_.begin_string();
        escaped_ = false;
        place_ = Place::quoted;
        return 1;
    }
    token_.clear();
    place_ = Place::word;
    return 0;
}

size_t Gemma4Calls::read_string(std::string_view text, bool is_final, bool& stuck) {
    const size_t end = std::min(text.find('<'), text.size());
    writer_.string_piece(text.substr(0, end));
    if (end == text.size()) return end;
    const Match quote = starts_with(text.substr(end), kQuote);
    if (quote == Match::yes) {
        writer_.end_string();
        place_ = Place::comma_or_end;
        return end + kQuote.size();
    }
    if (quote == Match::maybe && !is_final) {
        stuck = true;
        return end;
    }
    writer_.string_piece("<");
    return end + 1;
}

size_t Gemma4Calls::read_quoted(std::string_view text) {
    if (escaped_) {
        const char c = text.front();
        escaped_ = false;
        if (c == 'n' || c == 't' || c == 'r' || c == '"' || c == '\\')
            writer_.string_escaped(std::string("\\") + c);
        else
            writer_.string_piece(std::string("\\") + c);
        return 1;
    }
    const size_t end = std::min(text.find_first_of("\"\\"), text.size());
    writer_.string_piece(text.substr(0, end));
    if (end == text.size()) return end;
    if (text[end] == '\\') {
        escaped_ = true;
    } else {
        writer_.end_string();
        place_ = Place::comma_or_end;
    }
    return end + 1;
}

size_t Gemma4Calls::read_word(std::string_view text, bool is_final) {
    const size_t end = std::min(text.find_first_of(",}]"), text.size());
    token_ += text.substr(0, end);
    if (end < text.size() || is_final) word_ended();
    return end;
}

void Gemma4Calls::word_ended() {
    const std::string_view word = trimmed(token_);
    if (is_word(word, "true"))
        writer_.scalar("true");
    else if (is_word(word, "false"))
        writer_.scalar("false");
    else if (word.empty() || is_word(word, "null") || is_word(word, "none") || is_word(word, "nil"))
        writer_.scalar("null");
    else if (auto number = parse_json(word); number && (number->is_int() || number->is_float()))
        writer_.scalar(word);
    else {
        writer_.begin_string();
        writer_.string_piece(word);
        writer_.end_string();
    }
    place_ = Place::comma_or_end;
}

}  // namespace nibble::text::calls
