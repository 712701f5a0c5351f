// Filters on any value: default, conversions, numbers, tojson; and the look-up of filters.
#include "text/jinja/binding.h"
#include "text/jinja/filters.h"
#include "text/jinja/format_number.h"
#include "text/jinja/python_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace nibble::text::jinja {
namespace {

const Item kNone = Item::none();

bool default_value(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Item p[2];
    if (!bind(runtime, "default", arguments,
              {{"default_value", Item::of(std::string_view())}, {"boolean", Item::of(false)}}, p))
        return false;
    out = value.is_undefined() || (truth(p[1]) && !truth(value)) ? p[0] : value;
    return true;
}

bool string(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    return bind_nothing(runtime, "string", arguments) && to_soft_text(runtime, value, out);
}

bool safe(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    std::string_view text;
    if (!bind_nothing(runtime, "safe", arguments) || !to_text(runtime, value, text)) return false;
    out = Item::of(text, true);
    return true;
}

bool length_of(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    int64_t n;
    if (!bind_nothing(runtime, "length", arguments) || !length(runtime, value, n)) return false;
    out = Item::of(n);
    return true;
}

bool attribute(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Item name;
    bool found;
    if (!bind(runtime, "attr", arguments, {{"name", Item()}}, &name)) return false;
    if (!name.is_string()) return runtime.fail("attr() needs a string, not '{}'", type_name(name));
    if (value.is_undefined()) return runtime.fail_undefined(value);
    if (!get_attribute_only(runtime, value, name.view_text(), out, found)) return false;
    if (!found) out = Item::undefined(Absence::attribute, name.view_text(), value.kind);
    return true;
}

// The digits of a number as Python's int() and float() accept them: underscores only between digits.
bool without_underscores(std::string_view s, std::string& out) {
    auto alnum = [&](size_t i) {
        return i < s.size() && ((s[i] >= '0' && s[i] <= '9') || ((s[i] | 0x20) >= 'a' && (s[i] | 0x20) <= 'z'));
    };
    for (size_t i = 0; i < s.size(); i++) {
        if (s[i] != '_')
            out += s[i];
        else if (i == 0 || !alnum(i - 1) || !alnum(i + 1))
            return false;
    }
    return !out.empty();
}

enum class Parsed { no, yes, too_large };

// int(text, base)
Parsed parse_integer(std::string_view text, int64_t base, int64_t& out) {
    std::string_view s = strip(text, Side::both);
    bool negative = false;
    if (!s.empty() && (s[0] == '-' || s[0] == '+')) {
        negative = s[0] == '-';
        s.remove_prefix(1);
    }
    if (base != 0 && (base < 2 || base > 36)) return Parsed::no;
    bool zeros_only = false;
    if (s.size() > 1 && s[0] == '0') {
        const char mark = static_cast<char>(s[1] | 0x20);
        const int marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
        if (marked && (base == 0 || base == marked)) {
            base = marked;
            s.remove_prefix(2);
            if (s.starts_with('_')) s.remove_prefix(1);
        } else {
            zeros_only = base == 0;  // no octal by a leading zero
        }
    }
    if (base == 0) base = 10;
    std::string digits;
    if (!without_underscores(s, digits)) return Parsed::no;
    if (zeros_only && digits.find_first_not_of('0') != std::string::npos) return Parsed::no;
    uint64_t magnitude = 0;
    const char* end = digits.data() + digits.size();
    const auto [stop, ec] = std::from_chars(digits.data(), end, magnitude, static_cast<int>(base));
    if (digits[0] == '-' || stop != end || ec == std::errc::invalid_argument) return Parsed::no;
    if (ec != std::errc() || magnitude > (negative ? uint64_t{1} << 63 : INT64_MAX)) return Parsed::too_large;
    out = negative ? static_cast<int64_t>(0 - magnitude) : static_cast<int64_t>(magnitude);
    return Parsed::yes;
}

// float(text)
bool parse_real(std::string_view text, double& out) {
    std::string_view s = strip(text, Side::both);
    bool negative = false;
    if (!s.empty() && (s[0] == '-' || s[0] == '+')) {
        negative = s[0] == '-';
        s.remove_prefix(1);
    }
    std::string digits;
    if (!without_underscores(s, digits) || digits[0] == '-') return false;
    const char* end = digits.data() + digits.size();
    // Accepts inf, infinity and nan in any case, as Python does; not nan(…).
    const auto [stop, ec] = std::from_chars(digits.data(), end, out);
    if (stop != end || ec == std::errc::invalid_argument || digits.back() == ')') return false;
    if (ec == std::errc::result_out_of_range)
        out = digits.find("e-") != std::string::npos || digits.find("E-") != std::string::npos ? 0.0 : HUGE_VAL;
    if (negative) out = -out;
    return true;
}

bool to_integer_filter(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Item p[2];
    if (!bind(runtime, "int", arguments, {{"default", Item::of(int64_t{0})}, {"base", Item::of(int64_t{10})}}, p))
        return false;
    if (value.is_undefined()) return runtime.fail_undefined(value);
    double d = 0;
    if (value.is_string()) {
        int64_t base, i;
        if (!to_integer(runtime, "int", p[1], base)) return false;
        switch (parse_integer(value.view_text(), base, i)) {
            case Parsed::yes:
                out = Item::of(i);
                return true;
            case Parsed::too_large:
                return runtime.fail("an integer does not fit into 64 bits");
            case Parsed::no:
                break;
        }
        if (!parse_real(value.view_text(), d) || !std::isfinite(d)) {
            out = p[0];
            return true;
        }
    } else if (value.is_integer()) {
        out = Item::of(value.as_integer());
        return true;
    } else if (value.is(Kind::real)) {
        d = value.real;
        if (std::isinf(d)) return runtime.fail("cannot convert float infinity to integer");
        if (std::isnan(d)) {
            out = p[0];
            return true;
        }
    } else {
        out = p[0];
        return true;
    }
    d = std::trunc(d);
    if (std::fabs(d) >= 9223372036854775808.0) return runtime.fail("an integer does not fit into 64 bits");
    out = Item::of(static_cast<int64_t>(d));
    return true;
}

bool to_real_filter(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Item fallback;
    double d;
    if (!bind(runtime, "float", arguments, {{"default", Item::of(0.0)}}, &fallback)) return false;
    if (value.is_undefined()) return runtime.fail_undefined(value);
    if (value.is_number())
        out = Item::of(value.as_real());
    else if (value.is_string() && parse_real(value.view_text(), d))
        out = Item::of(d);
    else
        out = fallback;
    return true;
}

bool absolute(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    if (!bind_nothing(runtime, "abs", arguments)) return false;
    if (value.is(Kind::real)) {
        out = Item::of(std::fabs(value.real));
        return true;
    }
    if (!value.is_integer()) return runtime.fail("bad operand type for abs(): '{}'", type_name(value));
    return value.as_integer() < 0 ? negate(runtime, value, out) : positive(runtime, value, out);
}

// Python's round(): to the nearest, ties to even, of the exact value.
double round_real(double d, int64_t precision) {
    if (!std::isfinite(d) || precision > 320) return d;
    if (precision < -320) return std::copysign(0.0, d);
    if (precision < 0) {
        const double unit = std::pow(10.0, static_cast<double>(-precision));
        return std::nearbyint(d / unit) * unit;
    }
    const std::string digits = real_digits(d, 'f', static_cast<int>(precision));
    double rounded = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), rounded);
    return std::copysign(rounded, d);
}

bool round_integer(Runtime& runtime, int64_t i, int64_t precision, Item& out) {
    if (precision >= 0) {
        out = Item::of(i);
        return true;
    }
    if (precision < -18) {
        out = Item::of(int64_t{0});
        return true;
    }
    int64_t unit = 1;
    for (int64_t n = precision; n < 0; n++) unit *= 10;
    int64_t down = i / unit * unit;
    if (i % unit < 0) down -= unit;
    const int64_t rest = i - down;  // 0 <= rest < unit
    const bool up = rest > unit - rest || (rest == unit - rest && (down / unit) % 2 != 0);
    return arithmetic(runtime, Operator::add, Item::of(down), Item::of(up ? unit : 0), out);
}

bool round_filter(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Item p[2];
    int64_t precision;
    if (!bind(runtime, "round", arguments,
              {{"precision", Item::of(int64_t{0})}, {"method", Item::of(std::string_view("common"))}}, p))
        return false;
    const std::string_view method = p[1].is_string() ? p[1].view_text() : std::string_view();
    if (method != "common" && method != "ceil" && method != "floor")
        return runtime.fail("round(): the method must be common, ceil or floor");
    if (!value.is_number()) return runtime.fail("round() needs a number, not '{}'", type_name(value));
    if (method == "common" && p[0].is_none()) p[0] = Item::of(int64_t{0});
    if (!to_integer(runtime, "round", p[0], precision)) return false;
    if (method == "common") {
        if (value.is_integer()) return round_integer(runtime, value.as_integer(), precision, out);
        out = Item::of(round_real(value.real, precision));
        return true;
    }
    const double scale = std::pow(10.0, static_cast<double>(precision));
    const double scaled = value.as_real() * scale;
    if (!std::isfinite(scaled) || scale == 0) return runtime.fail("round() out of range");
    out = Item::of((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
    return true;
}

bool filesizeformat(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Item binary;
    double bytes;
    if (!bind(runtime, "filesizeformat", arguments, {{"binary", Item::of(false)}}, &binary)) return false;
    if (value.is_number())
        bytes = value.as_real();
    else if (!value.is_string() || !parse_real(value.view_text(), bytes))
        return runtime.fail("filesizeformat needs a number, not '{}'", type_name(value));
    const double base = truth(binary) ? 1024 : 1000;
    if (bytes == 1) {
        out = Item::of(std::string_view("1 Byte"));
        return true;
    }
    if (bytes < base) {
        out = runtime.text(fmt::format("{:.0f} Bytes", std::trunc(bytes)));
        return true;
    }
    constexpr const char* kPrefixes[2][8] = {{"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"},
                                             {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"}};
    double unit = base;
    int i = 0;
    do unit *= base;
    while (bytes >= unit && ++i < 8);
    i = std::min(i, 7);
    if (bytes >= unit && i == 7) unit = std::pow(base, 9);
    out = runtime.text(real_digits(base * bytes / unit, 'f', 1) + ' ' + kPrefixes[truth(binary)][i]);
    return true;
}

bool tojson(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Item p[4];
    if (!bind(runtime, "tojson", arguments,
              {{"ensure_ascii", Item::of(false)},
               {"indent", kNone},
               {"separators", kNone},
               {"sort_keys", Item::of(false)}},
              p))
        return false;
    JsonStyle style;
    style.ensure_ascii = truth(p[0]);
    style.sort_keys = truth(p[3]);
    if (p[1].is_string()) {
        style.indented = true;
        style.indent = p[1].view_text();
    } else if (!p[1].is_none()) {
        int64_t indent;
        if (!to_integer(runtime, "tojson", p[1], indent)) return false;
        if (indent > 1000) return runtime.fail("tojson(): an indent of {} is over the limit of 1000", indent);
        style.indented = true;
        style.indent.assign(static_cast<size_t>(std::max<int64_t>(indent, 0)), ' ');
    }
    if (style.indented) style.item_separator = ",";
    if (!p[2].is_none()) {
        std::vector<Item> separators;
        if (!collect(runtime, p[2], separators)) return false;
        if (separators.size() != 2 || !separators[0].is_string() || !separators[1].is_string())
            return runtime.fail("tojson(): separators must be two strings");
        style.item_separator = separators[0].view_text();
        style.key_separator = separators[1].view_text();
    }
    std::string text;
    if (!append_json(runtime, text, value, style) || !runtime.allow_text(text.size())) return false;
    out = runtime.text(text);
    return true;
}

constexpr FilterRow kFilters[] = {
    {"abs", absolute},
    {"attr", attribute},
    {"count", length_of},
    {"d", default_value},
    {"default", default_value},
    {"filesizeformat", filesizeformat},
    {"float", to_real_filter},
    {"int", to_integer_filter},
    {"length", length_of},
    {"round", round_filter},
    {"safe", safe},
    {"string", string},
    {"tojson", tojson},
};

}  // namespace

std::span<const FilterRow> value_filters() {
    return kFilters;
}

Function find_filter(std::string_view name) {
    for (std::span<const FilterRow> table : {value_filters(), text_filters(), sequence_filters()})
        for (const FilterRow& row : table)
            if (row.name == name) return row.function;
    return nullptr;
}

}  // namespace nibble::text::jinja
