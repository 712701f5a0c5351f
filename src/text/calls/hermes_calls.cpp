#include "text/calls/hermes_calls.h"

#include <algorithm>

namespace nibble::text::calls {
namespace {

constexpr std::string_view kCall = "<tool_call>", kCallEnd = "</tool_call>";

std::string json_string(std::string_view json) {
    auto value = parse_json(json);
    return value && value->is_string() ? value->as_string() : std::string();
}

}  // namespace

// The name comes later: whether it exists is seen when the call starts.
Match HermesCalls::begins(std::string_view text, bool is_final, bool) const {
    const Match match = starts_with(text, kCall);
    if (match == Match::no) return match;
    const size_t space = match == Match::yes ? space_at(text, kCall.size()) : 0;
    if (space > kMaxSpace) return Match::no;
    if (match == Match::maybe || kCall.size() + space == text.size()) return is_final ? Match::no : Match::maybe;
    return text[kCall.size() + space] == '{' ? Match::yes : Match::no;
}

void HermesCalls::flush(Sink& sink) {
    if (!json_.empty()) sink.arguments(json_);
    json_.clear();
}

size_t HermesCalls::read(std::string_view text, bool is_final, bool strict, Sink& sink) {
    size_t at = 0;
    if (place_ == Place::outside) {
        at = kCall.size() + space_at(text, kCall.size()) + 1;
        raw_ = text.substr(0, at);
        place_ = Place::key_or_end;
        strict_ = strict;
        started_ = streaming_ = false;
        name_.clear();
        arguments_.clear();
    }
    while (open() && at < text.size()) {
        const std::string_view rest = text.substr(at);
        const Place before = place_;
        const size_t used = read_object(rest, is_final, sink);
        if (!started_ && open()) raw_ += rest.substr(0, used);
        at += used;
        if (used == 0 && place_ == before) break;  // more text is needed
    }
    if (is_final && open()) {
        if (place_ != Place::after_object) give_up(sink);
        place_ = Place::outside;
    }
    flush(sink);
    return at;
}

// What is not a call goes back to where it came from; one that has begun is closed.
void HermesCalls::give_up(Sink& sink) {
    if (started_) {
        live_.finish();
        flush(sink);
        sink.end();
    } else {
        sink.stray(raw_);
    }
    place_ = Place::outside;
}

size_t HermesCalls::read_object(std::string_view text, bool is_final, Sink& sink) {
    if (place_ == Place::key) return read_key(text, is_final);
    if (place_ == Place::value) return read_value(text, is_final, sink);
    if (const size_t space = space_at(text, 0)) return space;
    if (place_ == Place::after_object) {
        const Match match = starts_with(text, kCallEnd);
        if (match == Match::maybe && !is_final) return 0;
        place_ = Place::outside;
        return match == Match::yes ? kCallEnd.size() : 0;
    }
    const char c = text.front();
    if (c == '"' && place_ == Place::key_or_end) {
        stream_ = {};
        scratch_.clear();
        side_.reset();
        place_ = Place::key;
        return 0;
    }
    if (c == ':' && place_ == Place::colon) {
        stream_ = {};
        scratch_.clear();
        side_.reset();
        streaming_ = value_begun_ = false;
        place_ = Place::value;
        return 1;
    }
    if (c == ',' && place_ == Place::comma_or_end) {
        place_ = Place::key_or_end;
        return 1;
    }
    if (c == '}' && (place_ == Place::comma_or_end || place_ == Place::key_or_end)) {
        object_ended(sink);
        return open() ? 1 : 0;
    }
    give_up(sink);
    return 0;
}

size_t HermesCalls::read_key(std::string_view text, bool is_final) {
    const size_t used = stream_.read(text, is_final, side_);
    if (stream_.state() == JsonStream::State::done) {
        key_ = json_string(scratch_);
        place_ = Place::colon;
    }
    return used;
}

size_t HermesCalls::read_value(std::string_view text, bool is_final, Sink& sink) {
    if (!value_begun_) {
        if (const size_t space = space_at(text, 0)) return space;
        value_begun_ = true;
        const bool is_arguments = key_ == "arguments" || key_ == "parameters";
        if (is_arguments && text.front() == '{' && !started_ && may_start()) {
            sink.start(name_);
            started_ = streaming_ = true;
            raw_.clear();
            live_.reset();
        }
    }
    const size_t used = stream_.read(text, is_final, streaming_ ? live_ : side_);
    if (stream_.state() == JsonStream::State::broken) {
        const bool started = started_;
        if (!started) raw_ += text.substr(0, used);
        give_up(sink);
        if (started) sink.stray(stream_.rejected());
    } else if (stream_.state() == JsonStream::State::done) {
        member_ended();
    }
    return used;
}

void HermesCalls::member_ended() {
    if (key_ == "name")
        name_ = json_string(scratch_);
    else if ((key_ == "arguments" || key_ == "parameters") && !streaming_)
        arguments_ = scratch_;
    streaming_ = false;
    place_ = Place::comma_or_end;
}

void HermesCalls::object_ended(Sink& sink) {
    if (started_) {
        flush(sink);
        sink.end();
        place_ = Place::after_object;
        return;
    }
    // The arguments came before the name, as JSON text in a string, or not at all.
    std::string json = arguments_;
    if (json.starts_with('"')) json = json_string(json);
    if (json.empty() || json == "null") json = "{}";
    auto parsed = parse_json(json);
    if (!may_start() || !parsed || !parsed->is_object()) {
        give_up(sink);
        return;
    }
    started_ = true;
    raw_.clear();
    sink.start(name_);
    sink.arguments(json);
    sink.end();
    place_ = Place::after_object;
}

}  // namespace nibble::text::calls
