#include "server/json_writer.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

namespace nibble::server {
namespace {

// 0: stands for itself; 'u': \u00XX; else the letter after the backslash.
constexpr std::array<char, 256> kEscape = [] {
    std::array<char, 256> table{};
    for (int c = 0; c < 0x20; ++c) table[c] = 'u';
    table['\n'] = 'n';
    table['\r'] = 'r';
    table['\t'] = 't';
    table['\b'] = 'b';
    table['\f'] = 'f';
    table['"'] = '"';
    table['\\'] = '\\';
    return table;
}();

}  // namespace

void append_json_escaped(std::string& out, std::string_view text) {
    size_t plain = 0;
    for (size_t i = 0; i < text.size(); ++i) {
        const char escape = kEscape[static_cast<unsigned char>(text[i])];
        if (!escape) continue;
        out.append(text.data() + plain, i - plain);
        plain = i + 1;
        out += '\\';
        out += escape;
        if (escape == 'u') {
            constexpr char kHex[] = "0123456789abcdef";
            out += "00";
            out += kHex[text[i] >> 4];
            out += kHex[text[i] & 15];
        }
    }
    out.append(text.data() + plain, text.size() - plain);
}

void append_integer(std::string& out, int64_t value) {
    char digits[24];
    const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
    out.append(digits, end);
}

// A value follows another value unless something was just opened or a key was written.
void JsonWriter::comma() {
    if (out_.empty()) return;
    const char last = out_.back();
    if (last != '{' && last != '[' && last != ':' && last != ' ' && last != ',') out_ += ',';
}

JsonWriter& JsonWriter::open(char bracket) {
    comma();
    out_ += bracket;
    return *this;
}

JsonWriter& JsonWriter::close(char bracket) {
    out_ += bracket;
    return *this;
}

JsonWriter& JsonWriter::key(std::string_view name) {
    comma();
    out_ += '"';
    append_json_escaped(out_, name);
    out_ += "\":";
    return *this;
}

JsonWriter& JsonWriter::string(std::string_view text) {
    comma();
    out_ += '"';
    append_json_escaped(out_, text);
    out_ += '"';
    return *this;
}

JsonWriter& JsonWriter::integer(int64_t value) {
    comma();
    append_integer(out_, value);
    return *this;
}

JsonWriter& JsonWriter::number(double value) {
    if (!std::isfinite(value)) return null();
    comma();
    fmt::format_to(std::back_inserter(out_), "{}", value);
    return *this;
}

JsonWriter& JsonWriter::logprob(float value) {
    comma();
    if (std::isfinite(value))
        fmt::format_to(std::back_inserter(out_), "{}", value);
    else
        out_ += "-9999.0";
    return *this;
}

JsonWriter& JsonWriter::raw(std::string_view json) {
    comma();
    out_ += json;
    return *this;
}

}  // namespace nibble::server
