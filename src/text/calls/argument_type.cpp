#include "text/calls/argument_type.h"

#include "text/calls/call_reader.h"
#include "text/jinja/python_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace nibble::text::calls {
namespace {

bool equals_word(std::string_view text, std::string_view lower_word) {
    return text.size() == lower_word.size() &&
           std::equal(text.begin(), text.end(), lower_word.begin(),
                      [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b; });
}

// An integer's digits as JSON wants them (no plus, no leading zeros), of any length; empty when the text is none.
std::string integer_json(std::string_view text) {
    const bool negative = text.starts_with('-');
    if (negative || text.starts_with('+')) text.remove_prefix(1);
    if (text.empty() || text.find_first_not_of("0123456789") != std::string_view::npos) return {};
    text.remove_prefix(std::min(text.find_first_not_of('0'), text.size() - 1));
    return (negative && text != "0" ? "-" : "") + std::string(text);
}

// A number: integral ones without a point, as long as a double holds them exactly.
std::string number_json(std::string_view text) {
    if (std::string digits = integer_json(text); !digits.empty()) return digits;
    if (text.starts_with('+')) text.remove_prefix(1);
    double d = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), d);
    if (ec != std::errc() || end != text.data() + text.size() || !std::isfinite(d)) return {};
    if (d == std::floor(d) && std::fabs(d) <= 9007199254740992.0) return std::to_string(static_cast<int64_t>(d));
    std::string out;
    append_float(out, d);
    return out;
}

class PythonLiteral {
public:
    explicit PythonLiteral(std::string_view text) : text_(text) {}

    std::string json() {
        JsonWriter writer(out_);
        skip_space();
        if (!value(writer, 0)) return {};
        skip_space();
        return at_ == text_.size() ? out_ : std::string();
    }

private:
    static constexpr int kMaxDepth = 64;

    char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
    void skip_space() { at_ += space_at(text_, at_); }
    bool take(char c) {
        skip_space();
        if (peek() != c) return false;
        at_++;
        skip_space();
        return true;
    }

    bool value(JsonWriter& writer, int depth) {
        if (depth > kMaxDepth) return false;
        const char c = peek();
        if (c == '{') return dict(writer, depth);
        if (c == '[' || c == '(') return list(writer, depth);
        if (c == '\'' || c == '"') {
            std::string s;
            if (!string(s)) return false;
            writer.begin_string();
            writer.string_piece(s);
            writer.end_string();
            return true;
        }
        size_t end = text_.find_first_of(",]}): \n\t\r", at_);
        end = std::min(end, text_.size());
        const std::string_view word = text_.substr(at_, end - at_);
        at_ = end;
        std::string json = word == "True" || word == "true"     ? "true"
                           : word == "False" || word == "false" ? "false"
                           : word == "None" || word == "null"   ? "null"
                                                                : integer_json(word);
        if (json.empty()) {
            double d = 0;
            const auto [stop, ec] = std::from_chars(word.data(), word.data() + word.size(), d);
            if (word.empty() || ec != std::errc() || stop != word.data() + word.size() || !std::isfinite(d))
                return false;
            append_float(json, d);
        }
        writer.scalar(json);
        return true;
    }

    bool list(JsonWriter& writer, int depth) {
        const char close = peek() == '[' ? ']' : ')';
        at_++;
        skip_space();
        writer.open('[');
        while (peek() != close) {
            if (!value(writer, depth + 1)) return false;
            if (!take(',') && peek() != close) return false;
        }
        at_++;
        writer.close();
        return true;
    }

    bool dict(JsonWriter& writer, int depth) {
        at_++;
        skip_space();
        writer.open('{');
        while (peek() != '}') {
            std::string key;
            if ((peek() != '\'' && peek() != '"') || !string(key) || !take(':')) return false;
            writer.key(key);
            if (!value(writer, depth + 1)) return false;
            if (!take(',') && peek() != '}') return false;
        }
        at_++;
        writer.close();
        return true;
    }

    bool string(std::string& out) {
        const char quote = text_[at_++];
        for (; at_ < text_.size(); at_++) {
            char c = text_[at_];
            if (c == quote) {
                at_++;
                return true;
            }
            if (c == '\\' && at_ + 1 < text_.size()) {
                c = text_[++at_];
                switch (c) {
                    case 'n':
                        c = '\n';
                        break;
                    case 't':
                        c = '\t';
                        break;
                    case 'r':
                        c = '\r';
                        break;
                    case '\\':
                    case '\'':
                    case '"':
                        break;
                    default:
                        out += '\\';
                }
            }
            out += c;
        }
        return false;
    }

    std::string_view text_;
    size_t at_ = 0;
    std::string out_;
};

std::string quoted(std::string_view text) {
    std::string out;
    append_json_string(out, text);
    return out;
}

}  // namespace

ArgumentType::ArgumentType(const Value* schema) {
    if (schema) add_schema(*schema, 0);
    if (!string_ && !integer_ && !number_ && !boolean_ && !json_) string_ = true;
}

void ArgumentType::add(std::string_view type) {
    if (type == "string" || type == "str" || type == "text" || type == "enum")
        string_ = true;
    else if (type == "null")
        null_ = true;
    else if (type.starts_with("int"))
        integer_ = true;
    else if (type.starts_with("num") || type.starts_with("float") || type == "double")
        number_ = true;
    else if (type.starts_with("bool"))
        boolean_ = true;
    else
        json_ = true;  // object, array, and whatever else is written as JSON
}

void ArgumentType::add_schema(const Value& schema, int depth) {
    constexpr int kMaxDepth = 8;
    if (!schema.is_object() || depth > kMaxDepth) return;
    if (const Value* nullable = schema.find("nullable"); nullable && nullable->is_bool() && nullable->as_bool())
        null_ = true;
    if (const Value* type = schema.find("type")) {
        if (type->is_string()) add(type->as_string());
        if (type->is_array())
            for (const Value& one : type->as_array())
                if (one.is_string()) add(one.as_string());
        return;
    }
    for (std::string_view several : {"anyOf", "oneOf", "allOf"})
        if (const Value* options = schema.find(several); options && options->is_array())
            for (const Value& option : options->as_array()) add_schema(option, depth + 1);
    auto add_constant = [&](const Value& v) {
        add(v.is_string()  ? "string"
            : v.is_bool()  ? "boolean"
            : v.is_none()  ? "null"
            : v.is_int()   ? "integer"
            : v.is_float() ? "number"
                           : "object");
    };
    if (const Value* constant = schema.find("const")) add_constant(*constant);
    if (const Value* constants = schema.find("enum"); constants && constants->is_array())
        for (const Value& constant : constants->as_array()) add_constant(constant);
    if (schema.find("properties") || schema.find("items") || schema.find("$ref")) json_ = true;
}

std::string ArgumentType::convert(std::string_view text) const {
    if (is_plain_string()) return quoted(text);
    const std::string_view value = jinja::strip(text, jinja::Side::both);
    if (equals_word(value, "null") && (null_ || !string_)) return "null";
    if (integer_ || number_) {
        // An integer may be written 3.0; a fraction is kept for whoever checks the schema only if numbers are allowed.
        std::string json = number_json(value);
        if (!json.empty() && (number_ || json.find_first_of(".e") == std::string::npos)) return json;
    }
    if (boolean_) {
        if (equals_word(value, "true")) return "true";
        if (equals_word(value, "false") || (!string_ && !json_ && !integer_ && !number_)) return "false";
    }
    if (json_) {
        if (parse_json(value)) return std::string(value);
        if (std::string json = python_literal_to_json(value); !json.empty()) return json;
    }
    return quoted(text);
}

std::string python_literal_to_json(std::string_view text) {
    return PythonLiteral(text).json();
}

}  // namespace nibble::text::calls
