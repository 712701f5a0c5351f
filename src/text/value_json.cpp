// parse_json: a strict JSON reader (RFC 8259) with a depth limit. Recursion is one frame a level of nesting.
#include "text/jinja/unicode.h"
#include "text/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

namespace nibble::text {
namespace {

// Whether a number outside double's range is too large (else too small): the decimal place of its first digit that
// is not zero, plus its exponent.
bool too_large(std::string_view number) {
    int64_t place = 0;
    bool point = false, significant = false;
    size_t i = number.front() == '-' ? 1 : 0;
    for (; i < number.size() && number[i] != 'e' && number[i] != 'E'; i++) {
        if (number[i] == '.') {
            point = true;
        } else if (number[i] != '0' || significant) {
            significant = true;
            if (!point) place++;
        } else if (point) {
            place--;
        }
    }
    int64_t exponent = 0;
    if (i < number.size()) {
        const bool negative = number[i + 1] == '-';
        for (i++; i < number.size(); i++)
            if (number[i] >= '0' && number[i] <= '9')
                exponent = std::min<int64_t>(exponent * 10 + number[i] - '0', 1 << 30);
        if (negative) exponent = -exponent;
    }
    return place + exponent > 0;
}

class JsonReader {
public:
    JsonReader(std::string_view json, int max_depth) : json_(json), max_depth_(max_depth) {}

    Result<Value> document() {
        Value value;
        if (!jinja::valid_utf8(json_)) {
            reason_ = "a byte sequence that is no UTF-8";
        } else if (read(value, 0)) {
            skip_space();
            if (at_ == json_.size()) return value;
            reason_ = "text behind the value";
        }
        return error(ErrorCode::invalid_request, "JSON: {} at byte {}", reason_, at_);
    }

private:
    bool fail(const char* reason) {
        reason_ = reason;
        return false;
    }
    void skip_space() {
        while (at_ < json_.size() && std::strchr(" \t\n\r", json_[at_]) && json_[at_] != '\0') at_++;
    }
    char peek() const { return at_ < json_.size() ? json_[at_] : '\0'; }
    bool take(char c) {
        if (peek() != c || at_ >= json_.size()) return false;
        at_++;
        return true;
    }
    bool word(std::string_view w) {
        if (json_.substr(at_, w.size()) != w) return fail("a value expected");
        at_ += w.size();
        return true;
    }

    bool read(Value& out, int depth) {
        skip_space();
        switch (peek()) {
            case '{':
                return read_object(out, depth + 1);
            case '[':
                return read_array(out, depth + 1);
            case '"': {
                std::string s;
                if (!read_string(s)) return false;
                out = Value(std::move(s));
                return true;
            }
            case 't':
                out = true;
                return word("true");
            case 'f':
                out = false;
                return word("false");
            case 'n':
                out = nullptr;
                return word("null");
            default:
                return read_number(out);
        }
    }

    bool read_array(Value& out, int depth) {
        if (depth > max_depth_) return fail("nesting too deep");
        at_++;
        Array array;
        skip_space();
        if (!take(']')) {
            do {
                array.emplace_back();
                if (!read(array.back(), depth)) return false;
                skip_space();
            } while (take(','));
            if (!take(']')) return fail("',' or ']' expected");
        }
        out = Value(std::move(array));
        return true;
    }

    bool read_object(Value& out, int depth) {
        if (depth > max_depth_) return fail("nesting too deep");
        at_++;
        Object object;
        skip_space();
        if (!take('}')) {
            do {
                skip_space();
                if (peek() != '"') return fail("a key expected");
                std::string key;
                if (!read_string(key)) return false;
                skip_space();
                if (!take(':')) return fail("':' expected");
                Value value;
                if (!read(value, depth)) return false;
                object.set(key, std::move(value));
                skip_space();
            } while (take(','));
            if (!take('}')) return fail("',' or '}' expected");
        }
        out = Value(std::move(object));
        return true;
    }

    bool read_hex4(char32_t& unit) {
        unit = 0;
        if (json_.size() - at_ < 4) return fail("four hexadecimal digits expected");
        for (int i = 0; i < 4; i++) {
            const char c = json_[at_];
            int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
            if (digit < 0) return fail("four hexadecimal digits expected");
            unit = unit * 16 + static_cast<char32_t>(digit);
            at_++;
        }
        return true;
    }

    bool read_string(std::string& out) {
        at_++;
        for (;;) {
            size_t plain = at_;
            while (plain < json_.size() && json_[plain] != '"' && json_[plain] != '\\' &&
                   static_cast<unsigned char>(json_[plain]) >= 0x20)
                plain++;
            out.append(json_.substr(at_, plain - at_));
            at_ = plain;
            if (at_ >= json_.size()) return fail("a string without its end");
            if (take('"')) return true;
            if (!take('\\')) return fail("a control character in a string");
            const char escape = peek();
            if (at_ < json_.size()) at_++;
            switch (escape) {
                case '"':
                case '\\':
                case '/':
                    out += escape;
                    break;
                case 'b':
                    out += '\b';
                    break;
                case 'f':
                    out += '\f';
                    break;
                case 'n':
                    out += '\n';
                    break;
                case 'r':
                    out += '\r';
                    break;
                case 't':
                    out += '\t';
                    break;
                case 'u': {
                    char32_t unit, low;
                    if (!read_hex4(unit)) return false;
                    const bool high = unit >= 0xd800 && unit < 0xdc00;
                    const size_t behind = at_;
                    if (high && json_.substr(at_, 2) == "\\u") {
                        at_ += 2;
                        if (!read_hex4(low)) return false;
                        if (low >= 0xdc00 && low < 0xe000)
                            unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                        else
                            at_ = behind;
                    }
                    jinja::append_utf8(out, unit);
                    break;
                }
                default:
                    return fail("an unknown escape in a string");
            }
        }
    }

    bool read_number(Value& out) {
        const size_t begin = at_;
        auto digits = [&] {
            const size_t first = at_;
            while (peek() >= '0' && peek() <= '9') at_++;
            return at_ - first;
        };
        take('-');
        if (take('0')) {
            if (peek() >= '0' && peek() <= '9') return fail("a number with a leading zero");
        } else if (digits() == 0) {
            at_ = begin;
            return fail("a value expected");
        }
        bool integral = true;
        if (take('.')) {
            integral = false;
            if (digits() == 0) return fail("digits expected behind '.'");
        }
        if (peek() == 'e' || peek() == 'E') {
            integral = false;
            at_++;
            if (!take('+')) take('-');
            if (digits() == 0) return fail("digits expected in the exponent");
        }
        const char* first = json_.data() + begin;
        const char* last = json_.data() + at_;
        if (integral) {
            int64_t i;
            auto [end, ec] = std::from_chars(first, last, i);
            if (ec == std::errc() && end == last) {
                out = i;
                return true;
            }
        }
        double d;
        auto [end, ec] = std::from_chars(first, last, d);
        if (ec == std::errc::result_out_of_range) {
            // As Python's float(): infinity when too large, zero when too small.
            d = too_large(std::string_view(first, static_cast<size_t>(last - first))) ? HUGE_VAL : 0.0;
            if (*first == '-') d = -d;
        } else if (ec != std::errc() || end != last) {
            return fail("a number that cannot be read");
        }
        out = d;
        return true;
    }

    std::string_view json_;
    int max_depth_;
    size_t at_ = 0;
    const char* reason_ = "";
};

}  // namespace

Result<Value> parse_json(std::string_view json, int max_depth) {
    return JsonReader(json, max_depth).document();
}

}  // namespace nibble::text
