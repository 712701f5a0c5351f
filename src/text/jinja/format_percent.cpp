// "…%s…" % values: Python's printf-style formatting.
#include "text/jinja/format_number.h"
#include "text/jinja/operations.h"
#include "text/jinja/unicode.h"

#include <algorithm>
#include <cmath>

namespace nibble::text::jinja {
namespace {

struct Spec {
    bool left = false, plus = false, space = false, alternate = false, zero = false;
    int64_t width = -1, precision = -1;
    char type = 0;
};

class PercentFormat {
public:
    PercentFormat(Runtime& runtime, const Item& format, const Item& values)
        : runtime_(runtime), format_(format.view_text()), markup_(format.markup), values_(values) {
        switch (values.kind) {
            case Kind::tuple:
                break;
            case Kind::dict:
            case Kind::list:
            case Kind::range:
            case Kind::undefined:
                mapping_ = true;
                break;  // what has __getitem__: need not be used up
            default:
                break;
        }
    }

    bool run(Item& out) {
        while (at_ < format_.size()) {
            const size_t percent = std::min(format_.find('%', at_), format_.size());
            text_ += format_.substr(at_, percent - at_);
            at_ = percent;
            if (at_ == format_.size()) break;
            at_++;
            if (!conversion()) return false;
            if (!runtime_.allow_text(text_.size())) return false;
        }
        const bool all_used = values_.is(Kind::tuple) ? next_ == values_.list->size : next_ == 1;
        if (!all_used && !mapping_) return runtime_.fail("not all arguments converted during string formatting");
        out = runtime_.text(text_, markup_);
        return true;
    }

private:
    char peek() const { return at_ < format_.size() ? format_[at_] : '\0'; }

    bool next_value(Item& out) {
        const size_t available = values_.is(Kind::tuple) ? values_.list->size : 1;
        if (next_ >= available) return runtime_.fail("not enough arguments for format string");
        out = values_.is(Kind::tuple) ? values_.list->items[next_] : values_;
        next_++;
        return true;
    }

    bool number(int64_t& out) {
        if (peek() == '*') {
            at_++;
            Item item;
            if (!next_value(item)) return false;
            if (!item.is_integer()) return runtime_.fail("* wants int");
            out = item.as_integer();
            return true;
        }
        while (peek() >= '0' && peek() <= '9') {
            out = std::max<int64_t>(out, 0) * 10 + (format_[at_++] - '0');
            if (out > INT32_MAX) return runtime_.fail("width or precision too big");
        }
        return true;
    }

    bool conversion() {
        Spec spec;
        Item keyed;
        bool has_key = false;
        if (peek() == '(') {
            size_t depth = 1, begin = ++at_;
            while (at_ < format_.size() && depth > 0) {
                depth += format_[at_] == '(';
                depth -= format_[at_] == ')';
                at_++;
            }
            if (depth > 0) return runtime_.fail("incomplete format key");
            const Item key = Item::of(format_.substr(begin, at_ - 1 - begin));
            if (!values_.is(Kind::dict)) return runtime_.fail("format requires a mapping");
            const Item* found = find(runtime_, *values_.dict, key);
            if (found == nullptr) return runtime_.fail("the mapping has no key '{}'", key.view_text());
            keyed = *found;
            has_key = true;
        }
        for (bool flags = true; flags;) {
            switch (peek()) {
                case '-':
                    spec.left = true;
                    break;
                case '+':
                    spec.plus = true;
                    break;
                case ' ':
                    spec.space = true;
                    break;
                case '#':
                    spec.alternate = true;
                    break;
                case '0':
                    spec.zero = true;
                    break;
                default:
                    flags = false;
            }
            at_ += flags;
        }
        if (!number(spec.width)) return false;
        if (spec.width < -1) {
            spec.left = true;
            spec.width = -spec.width;
        }
        if (peek() == '.') {
            at_++;
            spec.precision = 0;
            if (!number(spec.precision)) return false;
            spec.precision = std::max<int64_t>(spec.precision, 0);
        }
        if (peek() == 'h' || peek() == 'l' || peek() == 'L') at_++;
        if (at_ >= format_.size()) return runtime_.fail("incomplete format");
        spec.type = format_[at_++];
        if (spec.type == '%') {
            text_ += '%';
            return true;
        }
        Item value = keyed;
        if (!has_key && !next_value(value)) return false;
        return write(spec, value);
    }

    bool write(const Spec& spec, const Item& value) {
        switch (spec.type) {
            case 's':
            case 'r':
            case 'a':
                return write_text(spec, value);
            case 'c':
                return write_character(spec, value);
            case 'd':
            case 'i':
            case 'u':
            case 'o':
            case 'x':
            case 'X':
                return write_integer(spec, value);
            case 'e':
            case 'E':
            case 'f':
            case 'F':
            case 'g':
            case 'G':
                return write_real(spec, value);
            default:
                return runtime_.fail("unsupported format character '{}'", spec.type);
        }
    }

    bool write_text(const Spec& spec, const Item& value) {
        std::string text;
        if (spec.type == 's' ? !append_text(runtime_, text, value) : !append_repr(runtime_, text, value)) return false;
        if (markup_ && !(spec.type == 's' && value.is_string() && value.markup)) text = escape_html(text);
        if (spec.precision >= 0) text.resize(byte_offset(text, static_cast<size_t>(spec.precision)));
        return padded(spec, "", text, false);
    }

    bool write_character(const Spec& spec, const Item& value) {
        std::string text;
        if (value.is_integer()) {
            if (value.as_integer() < 0 || value.as_integer() > 0x10ffff)
                return runtime_.fail("%c arg not in range(0x110000)");
            append_utf8(text, static_cast<char32_t>(value.as_integer()));
        } else if (value.is_string() && code_points(value.view_text()) == 1) {
            text = value.view_text();
        } else {
            return runtime_.fail("%c requires int or char");
        }
        return padded(spec, "", text, false);
    }

    bool write_integer(const Spec& spec, const Item& value) {
        const bool decimal = spec.type == 'd' || spec.type == 'i' || spec.type == 'u';
        int64_t i = 0;
        if (value.is_integer()) {
            i = value.as_integer();
        } else if (decimal && value.is(Kind::real) && std::isfinite(value.real)) {
            if (std::fabs(value.real) >= 9223372036854775808.0)
                return runtime_.fail("%{} format: the number does not fit into 64 bits", spec.type);
            i = static_cast<int64_t>(value.real);
        } else {
            return runtime_.fail("%{} format: a number is required, not {}", spec.type, type_name(value));
        }
        const int base = decimal ? 10 : spec.type == 'o' ? 8 : 16;
        std::string digits = integer_digits(i, base, spec.type == 'X');
        if (spec.precision > kMaxPrecision) return runtime_.fail("precision too big");
        if (spec.precision > static_cast<int64_t>(digits.size()))
            digits.insert(0, static_cast<size_t>(spec.precision) - digits.size(), '0');
        std::string sign = i < 0 ? "-" : spec.plus ? "+" : spec.space ? " " : "";
        if (spec.alternate && base != 10) sign += base == 8 ? "0o" : spec.type == 'X' ? "0X" : "0x";
        return padded(spec, sign, digits, true);
    }

    bool write_real(const Spec& spec, const Item& value) {
        if (value.is_undefined()) return runtime_.fail_undefined(value);
        if (!value.is_number()) return runtime_.fail("must be real number, not {}", type_name(value));
        if (spec.precision > kMaxPrecision) return runtime_.fail("precision too big");
        const double d = value.as_real();
        const std::string sign = std::signbit(d) && !std::isnan(d) ? "-" : spec.plus ? "+" : spec.space ? " " : "";
        const std::string digits = real_digits(d, spec.type, spec.precision < 0 ? 6 : static_cast<int>(spec.precision));
        return padded(spec, sign, digits, true);
    }

    bool padded(const Spec& spec, std::string_view sign, std::string_view body, bool number) {
        const int64_t size = static_cast<int64_t>(sign.size() + code_points(body));
        const size_t fill = spec.width > size ? static_cast<size_t>(spec.width - size) : 0;
        if (fill > 0 && !runtime_.allow_text(text_.size() + fill + body.size())) return false;
        const bool zeros = number && spec.zero && !spec.left;
        if (!spec.left && !zeros) text_.append(fill, ' ');
        text_ += sign;
        if (zeros) text_.append(fill, '0');
        text_ += body;
        if (spec.left) text_.append(fill, ' ');
        return true;
    }

    Runtime& runtime_;
    std::string_view format_;
    bool markup_;
    const Item& values_;
    bool mapping_ = false;
    size_t at_ = 0, next_ = 0;
    std::string text_;
};

}  // namespace

bool format_percent(Runtime& runtime, const Item& format, const Item& values, Item& out) {
    return PercentFormat(runtime, format, values).run(out);
}

}  // namespace nibble::text::jinja
