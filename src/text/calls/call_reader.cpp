#include "text/calls/call_reader.h"

#include "text/jinja/python_text.h"

#include <algorithm>

namespace nibble::text::calls {

const Value* Functions::find(std::string_view name) const {
    if (!tools_.is_array()) return nullptr;
    for (const Value& tool : tools_.as_array()) {
        const Value* function = tool.find("function");
        if (!function) function = &tool;
        const Value* own = function->find("name");
        if (own && own->is_string() && own->as_string() == name) return function;
    }
    return nullptr;
}

const Value* Functions::parameter(std::string_view function, std::string_view name) const {
    const Value* found = find(function);
    const Value* parameters = found ? found->find("parameters") : nullptr;
    const Value* properties = parameters ? parameters->find("properties") : nullptr;
    return properties ? properties->find(name) : nullptr;
}

Match starts_with(std::string_view text, std::string_view marker) {
    const size_t common = std::min(text.size(), marker.size());
    if (text.substr(0, common) != marker.substr(0, common)) return Match::no;
    return text.size() >= marker.size() ? Match::yes : Match::maybe;
}

size_t space_at(std::string_view text, size_t at) {
    size_t end = at;
    while (end < text.size() && (text[end] == ' ' || text[end] == '\n' || text[end] == '\t' || text[end] == '\r'))
        end++;
    return end - at;
}

std::string_view trimmed(std::string_view text) {
    text = jinja::strip(text, jinja::Side::both);
    if (text.size() >= 2 && text.front() == text.back() && (text.front() == '"' || text.front() == '\''))
        text = text.substr(1, text.size() - 2);
    return text;
}

void JsonWriter::separate() {
    if (!brackets_.empty() && !first_) out_ += ", ";
    first_ = false;
    if (has_key_) {
        append_json_string(out_, key_);
        out_ += ": ";
        has_key_ = false;
    }
}

void JsonWriter::open(char bracket) {
    separate();
    out_ += bracket;
    brackets_ += bracket == '{' ? '}' : ']';
    first_ = true;
}

void JsonWriter::close() {
    out_ += brackets_.back();
    brackets_.pop_back();
    first_ = has_key_ = false;
}

void JsonWriter::scalar(std::string_view json) {
    separate();
    out_ += json;
}

void JsonWriter::begin_string() {
    separate();
    out_ += '"';
    in_string_ = true;
}

void JsonWriter::string_piece(std::string_view text) {
    std::string quoted;
    append_json_string(quoted, text);
    out_.append(quoted, 1, quoted.size() - 2);
}

void JsonWriter::string_escaped(std::string_view json) {
    out_ += json;
}

void JsonWriter::end_string() {
    out_ += '"';
    in_string_ = false;
}

void JsonWriter::finish() {
    if (in_string_) end_string();
    while (!brackets_.empty()) close();
}

void JsonWriter::reset() {
    brackets_.clear();
    has_key_ = in_string_ = false;
    first_ = true;
}

}  // namespace nibble::text::calls
