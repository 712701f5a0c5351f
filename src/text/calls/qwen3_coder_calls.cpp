#include "text/calls/qwen3_coder_calls.h"

#include <algorithm>

namespace nibble::text::calls {
namespace {

constexpr std::string_view kCall = "<tool_call>", kCallEnd = "</tool_call>",
                           kFunction = "<function=", kFunctionEnd = "</function>",
                           kParameter = "<parameter=", kParameterEnd = "</parameter>";

// A marker with a name: `marker` NAME `>`. The name holds no line end and no '<'.
Match named_marker(std::string_view text, std::string_view marker, size_t& length, std::string_view& name) {
    const Match match = starts_with(text, marker);
    if (match != Match::yes) return match;
    const std::string_view rest = text.substr(marker.size());
    const size_t end = rest.find_first_of(">\n<");
    if (end == std::string_view::npos) return rest.size() > kMaxName ? Match::no : Match::maybe;
    name = trimmed(rest.substr(0, end));
    if (rest[end] != '>' || name.empty() || end > kMaxName) return Match::no;
    length = marker.size() + end + 1;
    return Match::yes;
}

}  // namespace

// The opening of a call, up to its function's name.
Match Qwen3CoderCalls::opening(std::string_view text, bool strict, size_t& length, std::string_view& name) const {
    size_t at = 0;
    const Match outer = starts_with(text, kCall);
    if (outer == Match::maybe) return outer;
    if (outer == Match::yes) {
        at = kCall.size();
        const size_t space = space_at(text, at);
        if (space > kMaxSpace) return Match::no;
        at += space;
        if (at == text.size()) return Match::maybe;
    }
    const Match inner = named_marker(text.substr(at), kFunction, length, name);
    length += at;
    if (inner != Match::yes) return inner;
    return (outer == Match::no || strict) && !functions_.known(name) ? Match::no : Match::yes;
}

Match Qwen3CoderCalls::begins(std::string_view text, bool is_final, bool strict) const {
    size_t length = 0;
    std::string_view name;
    const Match match = opening(text, strict, length, name);
    return match == Match::maybe && is_final ? Match::no : match;
}

void Qwen3CoderCalls::start(std::string_view name, Sink& sink) {
    function_ = name;
    sink.start(name);
    writer_.reset();
    writer_.open('{');
    stray_ = false;
    place_ = Place::between;
}

void Qwen3CoderCalls::end_call(Sink& sink) {
    writer_.finish();
    flush(sink);
    sink.end();
    place_ = Place::after_function;
}

void Qwen3CoderCalls::flush(Sink& sink) {
    if (!json_.empty()) sink.arguments(json_);
    json_.clear();
}

void Qwen3CoderCalls::begin_value(std::string_view key) {
    type_.emplace(functions_.parameter(function_, key));
    writer_.key(key);
    raw_.clear();
    value_start_ = true;
    newline_held_ = false;
    place_ = Place::value;
    if (type_->is_plain_string()) writer_.begin_string();
}

void Qwen3CoderCalls::value_text(std::string_view text) {
    if (text.empty()) return;
    if (value_start_ && text.front() == '\n') text.remove_prefix(1);
    value_start_ = false;
    if (text.empty()) return;
    std::string piece = newline_held_ ? "\n" : "";
    newline_held_ = text.back() == '\n';
    piece += newline_held_ ? text.substr(0, text.size() - 1) : text;
    if (type_->is_plain_string())
        writer_.string_piece(piece);
    else
        raw_ += piece;
}

void Qwen3CoderCalls::end_value() {
    if (type_->is_plain_string())
        writer_.end_string();
    else
        writer_.scalar(type_->convert(raw_));
    stray_ = false;
    place_ = Place::between;
}

size_t Qwen3CoderCalls::read(std::string_view text, bool is_final, bool, Sink& sink) {
    size_t at = 0;
    if (place_ == Place::outside) {
        std::string_view name;
        opening(text, false, at, name);
        start(name, sink);
    }
    for (bool stuck = false; open() && !stuck && at < text.size();) {
        const std::string_view rest = text.substr(at);
        at += place_ == Place::between ? read_between(rest, is_final, sink, stuck)
              : place_ == Place::value ? read_value(rest, is_final, sink, stuck)
                                       : read_after_function(rest, is_final, sink, stuck);
    }
    if (is_final && open()) {
        if (place_ == Place::value) end_value();
        if (place_ == Place::between) end_call(sink);
        place_ = Place::outside;
    }
    flush(sink);
    return at;
}

// Between parameters: white space goes, anything else is not ours to drop.
size_t Qwen3CoderCalls::read_between(std::string_view text, bool is_final, Sink& sink, bool& stuck) {
    if (const size_t space = space_at(text, 0); space > 0 && !stray_) return space;
    if (text.front() != '<') {
        const size_t end = std::min(text.find('<'), text.size());
        sink.stray(text.substr(0, end));
        stray_ = true;
        return end;
    }
    size_t length = 0;
    std::string_view name;
    const Match parameter = named_marker(text, kParameter, length, name);
    if (parameter == Match::yes) {
        begin_value(name);
        return length;
    }
    const Match function_end = starts_with(text, kFunctionEnd), call_end = starts_with(text, kCallEnd);
    if (function_end == Match::yes) {
        end_call(sink);
        return kFunctionEnd.size();
    }
    // The next call begins, or the block ends, without the closing tag of this one.
    const Match function = named_marker(text, kFunction, length, name), call = starts_with(text, kCall);
    if (call_end == Match::yes || function == Match::yes || call == Match::yes) {
        end_call(sink);
        return 0;
    }
    const bool maybe = parameter == Match::maybe || function_end == Match::maybe || call_end == Match::maybe ||
                       function == Match::maybe || call == Match::maybe;
    if (maybe) {
        stuck = true;
        return is_final ? text.size() : 0;  // a marker that the end of the text cut off
    }
    sink.stray("<");
    stray_ = true;
    return 1;
}

size_t Qwen3CoderCalls::read_value(std::string_view text, bool is_final, Sink& sink, bool& stuck) {
    const size_t end = std::min(text.find('<'), text.size());
    value_text(text.substr(0, end));
    if (end == text.size()) return end;
    const std::string_view rest = text.substr(end);
    if (starts_with(rest, kParameterEnd) == Match::yes) {
        end_value();
        flush(sink);
        return end + kParameterEnd.size();
    }
    bool maybe = starts_with(rest, kParameterEnd) == Match::maybe;
    for (std::string_view other : {kParameter, kFunctionEnd, kCallEnd}) {
        const Match match = starts_with(rest, other);
        if (match == Match::yes) {
            end_value();
            return end;
        }
        maybe |= match == Match::maybe;
    }
    if (maybe && !is_final) {
        stuck = true;
        return end;
    }
    value_text("<");
    return end + 1;
}

size_t Qwen3CoderCalls::read_after_function(std::string_view text, bool is_final, Sink& sink, bool& stuck) {
    if (const size_t space = space_at(text, 0)) return space;
    const Match call_end = starts_with(text, kCallEnd);
    if (call_end == Match::yes) {
        place_ = Place::outside;
        return kCallEnd.size();
    }
    size_t length = 0;
    std::string_view name;
    const Match function = named_marker(text, kFunction, length, name);
    if (function == Match::yes) {
        start(name, sink);
        return length;
    }
    if ((call_end == Match::maybe || function == Match::maybe) && !is_final) {
        stuck = true;
        return 0;
    }
    place_ = Place::outside;
    return 0;
}

}  // namespace nibble::text::calls
