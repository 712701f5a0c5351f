// Object's index, and the JSON writer. Threads: as value.h.
#include "text/value.h"

#include "text/jinja/unicode.h"
#include "text/keyed_hash.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace nibble::text {
namespace {

constexpr size_t kIndexFrom = 12;  // entries; below, a scan is faster than a hash

void append_newline(std::string& out, int indent, int level) {
    out += '\n';
    out.append(static_cast<size_t>(indent) * static_cast<size_t>(level), ' ');
}

void append_json(std::string& out, const Value& value, int indent, int level) {
    const char* separator = indent < 0 ? ", " : ",";
    if (value.is_none() || value.is_undefined()) {
        out += "null";
    } else if (value.is_bool()) {
        out += value.as_bool() ? "true" : "false";
    } else if (value.is_int()) {
        fmt::format_to(std::back_inserter(out), "{}", value.as_int());
    } else if (value.is_float()) {
        const double d = value.as_float();
        if (std::isnan(d))
            out += "NaN";
        else if (std::isinf(d))
            out += d < 0 ? "-Infinity" : "Infinity";
        else
            append_float(out, d);
    } else if (value.is_string()) {
        append_json_string(out, value.as_string());
    } else if (value.is_array()) {
        const Array& array = value.as_array();
        out += '[';
        for (size_t i = 0; i < array.size(); i++) {
            if (i) out += separator;
            if (indent >= 0) append_newline(out, indent, level + 1);
            append_json(out, array[i], indent, level + 1);
        }
        if (indent >= 0 && !array.empty()) append_newline(out, indent, level);
        out += ']';
    } else {
        const auto& entries = value.as_object().entries();
        out += '{';
        for (size_t i = 0; i < entries.size(); i++) {
            if (i) out += separator;
            if (indent >= 0) append_newline(out, indent, level + 1);
            append_json_string(out, entries[i].first);
            out += ": ";
            append_json(out, entries[i].second, indent, level + 1);
        }
        if (indent >= 0 && !entries.empty()) append_newline(out, indent, level);
        out += '}';
    }
}

}  // namespace

const Value* Value::find(std::string_view key) const {
    return is_object() ? as_object().find(key) : nullptr;
}

size_t Object::position(std::string_view key) const {
    if (slots_.empty()) {
        size_t i = 0;
        while (i < entries_.size() && entries_[i].first != key) i++;
        return i;
    }
    const size_t mask = slots_.size() - 1;
    for (size_t slot = keyed_hash(key) & mask; slots_[slot] != 0; slot = (slot + 1) & mask)
        if (entries_[slots_[slot] - 1].first == key) return slots_[slot] - 1;
    return entries_.size();
}

const Value* Object::find(std::string_view key) const {
    const size_t at = position(key);
    return at < entries_.size() ? &entries_[at].second : nullptr;
}

void Object::index(size_t entry) {
    const size_t mask = slots_.size() - 1;
    size_t slot = keyed_hash(entries_[entry].first) & mask;
    while (slots_[slot] != 0) slot = (slot + 1) & mask;
    slots_[slot] = static_cast<uint32_t>(entry + 1);
}

void Object::set(std::string_view key, Value value) {
    const size_t at = position(key);
    if (at < entries_.size()) {
        entries_[at].second = std::move(value);
        return;
    }
    entries_.emplace_back(std::string(key), std::move(value));
    if (entries_.size() < kIndexFrom) return;
    if (entries_.size() * 2 <= slots_.size()) {
        index(at);
    } else {
        slots_.assign(std::max<size_t>(64, slots_.size() * 2), 0);
        for (size_t i = 0; i < entries_.size(); i++) index(i);
    }
}

std::string to_json(const Value& value, int indent) {
    std::string out;
    append_json(out, value, indent, 0);
    return out;
}

void append_json_string(std::string& out, std::string_view s, bool ensure_ascii) {
    out += '"';
    for (size_t at = 0; at < s.size();) {
        const unsigned char byte = static_cast<unsigned char>(s[at]);
        if (byte < 0x80) {
            at++;
            switch (byte) {
                case '"':
                    out += "\\\"";
                    break;
                case '\\':
                    out += "\\\\";
                    break;
                case '\n':
                    out += "\\n";
                    break;
                case '\r':
                    out += "\\r";
                    break;
                case '\t':
                    out += "\\t";
                    break;
                case '\f':
                    out += "\\f";
                    break;
                case '\b':
                    out += "\\b";
                    break;
                default:
                    if (byte < 0x20 || (ensure_ascii && byte == 0x7f))
                        fmt::format_to(std::back_inserter(out), "\\u{:04x}", byte);
                    else
                        out += static_cast<char>(byte);
            }
            continue;
        }
        const size_t begin = at;
        const char32_t c = jinja::next_code_point(s, at);
        if (!ensure_ascii) {
            out.append(s.substr(begin, at - begin));
        } else if (c < 0x10000) {
            fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<uint32_t>(c));
        } else {
            const uint32_t v = static_cast<uint32_t>(c) - 0x10000;
            fmt::format_to(std::back_inserter(out), "\\u{:04x}\\u{:04x}", 0xd800 + (v >> 10), 0xdc00 + (v & 0x3ff));
        }
    }
    out += '"';
}

void append_float(std::string& out, double d) {
    if (std::isnan(d)) {
        out += "nan";
        return;
    }
    if (std::isinf(d)) {
        out += d < 0 ? "-inf" : "inf";
        return;
    }
    // Shortest digits that read back as d, as d.ddde±x; Python writes them plainly for exponents in [-4, 16).
    char buffer[32];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, d, std::chars_format::scientific).ptr;
    std::string_view text(buffer, static_cast<size_t>(end - buffer));
    if (text.front() == '-') {
        out += '-';
        text.remove_prefix(1);
    }
    const size_t e = text.find('e');
    int exponent = 0;
    const char* exponent_begin = text.data() + e + 1;
    if (*exponent_begin == '+') exponent_begin++;
    std::from_chars(exponent_begin, text.data() + text.size(), exponent);
    std::string digits(1, text.front());
    if (e > 2) digits += text.substr(2, e - 2);
    const int count = static_cast<int>(digits.size());
    if (exponent >= 16 || exponent < -4) {
        out += digits[0];
        if (count > 1) {
            out += '.';
            out.append(digits, 1);
        }
        fmt::format_to(std::back_inserter(out), "e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
    } else if (exponent < 0) {
        out += "0.";
        out.append(static_cast<size_t>(-exponent - 1), '0');
        out += digits;
    } else if (count <= exponent + 1) {
        out += digits;
        out.append(static_cast<size_t>(exponent + 1 - count), '0');
        out += ".0";
    } else {
        out.append(digits, 0, static_cast<size_t>(exponent + 1));
        out += '.';
        out.append(digits, static_cast<size_t>(exponent + 1));
    }
}

}  // namespace nibble::text
