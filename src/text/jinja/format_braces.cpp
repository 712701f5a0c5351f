// "…{}…".format(…): Python's format strings, whose fields are looked up as the sandbox allows.
#include "text/jinja/format_number.h"
#include "text/jinja/methods.h"
#include "text/jinja/unicode.h"
#include "text/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace nibble::text::jinja {
namespace {

// [[fill]align][sign][z][#][0][width][grouping][.precision][type]
struct Spec {
    std::string_view fill = " ";
    char align = 0;
    char sign = '-';
    bool alternate = false;
    int64_t width = 0;
    char grouping = 0;
    int64_t precision = -1;
    char type = 0;
};

bool digits(std::string_view s, size_t& at, int64_t& out) {
    const char* begin = s.data() + at;
    const auto [end, ec] = std::from_chars(begin, s.data() + s.size(), out);
    if (*begin == '-' || ec != std::errc() || out > INT32_MAX) return false;
    at += static_cast<size_t>(end - begin);
    return true;
}

bool is_align(char c) {
    return c == '<' || c == '>' || c == '=' || c == '^';
}

bool parse_spec(Runtime& runtime, std::string_view s, Spec& spec) {
    size_t at = 0, behind_first = 0;
    auto peek = [&] { return at < s.size() ? s[at] : '\0'; };
    if (!s.empty()) next_code_point(s, behind_first);
    if (behind_first > 0 && behind_first < s.size() && is_align(s[behind_first])) {
        spec.fill = s.substr(0, behind_first);
        spec.align = s[behind_first];
        at = behind_first + 1;
    } else if (is_align(peek())) {
        spec.align = s[at++];
    }
    if (peek() == '+' || peek() == '-' || peek() == ' ') spec.sign = s[at++];
    if (peek() == 'z') at++;
    if (peek() == '#') {
        spec.alternate = true;
        at++;
    }
    if (peek() == '0') {
        if (spec.align == 0) {
            spec.fill = "0";
            spec.align = '=';
        }
        at++;
    }
    if (peek() >= '0' && peek() <= '9' && !digits(s, at, spec.width))
        return runtime.fail("too many digits in format string");
    if (peek() == ',' || peek() == '_') spec.grouping = s[at++];
    if (peek() == '.') {
        at++;
        if (!(peek() >= '0' && peek() <= '9') || !digits(s, at, spec.precision))
            return runtime.fail("format specifier missing precision");
    }
    if (at < s.size()) spec.type = s[at++];
    if (at != s.size()) return runtime.fail("invalid format specifier");
    return true;
}

bool pad_field(Runtime& runtime, const Spec& spec, char default_align, std::string_view sign, std::string_view body,
               std::string& out) {
    const int64_t size = static_cast<int64_t>(sign.size() + code_points(body));
    const size_t fill = spec.width > size ? static_cast<size_t>(spec.width - size) : 0;
    if (!runtime.allow_text(out.size() + body.size() + fill * spec.fill.size())) return false;
    const char align = spec.align ? spec.align : default_align;
    const size_t before = align == '<' || align == '=' ? 0 : align == '^' ? fill / 2 : fill;
    for (size_t i = 0; i < before; i++) out += spec.fill;
    out += sign;
    if (align == '=')
        for (size_t i = 0; i < fill; i++) out += spec.fill;
    out += body;
    if (align != '=')
        for (size_t i = before; i < fill; i++) out += spec.fill;
    return true;
}

bool format_string(Runtime& runtime, const Spec& spec, std::string_view s, std::string& out) {
    if (spec.type != 0 && spec.type != 's') return runtime.fail("unknown format code '{}' for a string", spec.type);
    if (spec.sign != '-' || spec.alternate || spec.grouping || spec.align == '=')
        return runtime.fail("sign, '#', grouping and '=' are not allowed in the format of a string");
    if (spec.precision >= 0) s = s.substr(0, byte_offset(s, static_cast<size_t>(spec.precision)));
    return pad_field(runtime, spec, '<', "", s, out);
}

std::string sign_of(const Spec& spec, bool negative) {
    return negative ? "-" : spec.sign == '+' ? "+" : spec.sign == ' ' ? " " : "";
}

bool format_real(Runtime& runtime, const Spec& spec, double d, std::string& out) {
    if (spec.precision > kMaxPrecision) return runtime.fail("precision too big");
    std::string body;
    const int precision = spec.precision < 0 ? 6 : static_cast<int>(spec.precision);
    switch (spec.type) {
        case 0:
            if (spec.precision < 0) {
                append_float(body, std::fabs(d));
            } else {
                body = real_digits(d, 'g', std::max(1, precision));
                if (std::isfinite(d) && body.find_first_of(".e") == std::string::npos) body += ".0";
            }
            break;
        case '%':
            body = real_digits(d * 100, 'f', precision) + '%';
            break;
        case 'n':
            body = real_digits(d, 'g', precision);
            break;
        case 'e':
        case 'E':
        case 'f':
        case 'F':
        case 'g':
        case 'G':
            body = real_digits(d, spec.type, precision);
            break;
        default:
            return runtime.fail("unknown format code '{}' for a float", spec.type);
    }
    if (spec.grouping) body = grouped(body, spec.grouping, 3);
    return pad_field(runtime, spec, '>', sign_of(spec, std::signbit(d) && !std::isnan(d)), body, out);
}

bool format_integer(Runtime& runtime, const Spec& spec, int64_t i, std::string& out) {
    std::string prefix, body;
    int group = 3;
    switch (spec.type) {
        case 0:
        case 'd':
        case 'n':
            body = integer_digits(i, 10, false);
            break;
        case 'b':
        case 'o':
        case 'x':
        case 'X':
            body = integer_digits(i, spec.type == 'b' ? 2 : spec.type == 'o' ? 8 : 16, spec.type == 'X');
            if (spec.alternate) prefix = std::string("0") + spec.type;
            group = 4;
            if (spec.grouping == ',') return runtime.fail("cannot specify ',' with '{}'", spec.type);
            break;
        case 'c':
            if (i < 0 || i > 0x10ffff) return runtime.fail("%c arg not in range(0x110000)");
            append_utf8(body, static_cast<char32_t>(i));
            return pad_field(runtime, spec, '>', "", body, out);
        case 'e':
        case 'E':
        case 'f':
        case 'F':
        case 'g':
        case 'G':
        case '%':
            return format_real(runtime, spec, static_cast<double>(i), out);
        default:
            return runtime.fail("unknown format code '{}' for an int", spec.type);
    }
    if (spec.precision >= 0) return runtime.fail("precision not allowed in the format of an int");
    if (spec.grouping) body = grouped(body, spec.grouping, group);
    return pad_field(runtime, spec, '>', sign_of(spec, i < 0) + prefix, body, out);
}

// format(value, spec)
bool format_value(Runtime& runtime, const Item& value, std::string_view text, std::string& out) {
    Spec spec;
    if (text.empty()) return append_text(runtime, out, value);
    if (!parse_spec(runtime, text, spec)) return false;
    if (value.is_string()) return format_string(runtime, spec, value.view_text(), out);
    if (value.is_integer()) return format_integer(runtime, spec, value.as_integer(), out);
    if (value.is(Kind::real)) return format_real(runtime, spec, value.real, out);
    return runtime.fail("unsupported format string passed to {}", type_name(value));
}

class BraceFormat {
public:
    BraceFormat(Runtime& runtime, bool markup, std::span<const Item> positional, const Dict* named,
                std::span<const Keyword> keywords)
        : runtime_(runtime), markup_(markup), positional_(positional), named_(named), keywords_(keywords) {}

    // A format specification may hold fields, and theirs too: `level` counts how deep.
    bool run(std::string_view format, int level, std::string& out) {
        if (level > 2) return runtime_.fail("max string recursion exceeded");
        for (size_t at = 0; at < format.size();) {
            const char c = format[at++];
            if (c != '{' && c != '}') {
                const size_t end = std::min(format.find_first_of("{}", at), format.size());
                out += format.substr(at - 1, end - at + 1);
                at = end;
                continue;
            }
            if (at < format.size() && format[at] == c) {
                out += c;
                at++;
                continue;
            }
            if (c == '}') return runtime_.fail("single '}}' encountered in format string");
            std::string_view field;
            if (!cut_field(format, at, field) || !replace_field(field, level, out)) return false;
            if (!runtime_.allow_text(out.size())) return false;
        }
        return true;
    }

private:
    // The text up to the brace that closes the one before format[at].
    bool cut_field(std::string_view format, size_t& at, std::string_view& field) {
        const size_t begin = at;
        int depth = 1;
        bool in_brackets = false;
        for (; at < format.size(); at++) {
            const char c = format[at];
            if (c == '[') in_brackets = true;
            if (c == ']') in_brackets = false;
            if (in_brackets) continue;
            if (c == '{') depth++;
            if (c == '}' && --depth == 0) {
                field = format.substr(begin, at - begin);
                at++;
                return true;
            }
        }
        return runtime_.fail("expected '}}' before end of string");
    }

    bool replace_field(std::string_view field, int level, std::string& out) {
        std::string_view spec, conversion;
        // The name ends at the first ! or : outside brackets.
        size_t end = 0;
        for (bool in_brackets = false; end < field.size(); end++) {
            const char c = field[end];
            if (c == '[') in_brackets = true;
            if (c == ']') in_brackets = false;
            if (!in_brackets && (c == ':' || c == '!')) break;
        }
        std::string_view name = field.substr(0, end), rest = field.substr(end);
        if (rest.starts_with('!')) {
            const size_t colon = std::min(rest.find(':'), rest.size());
            conversion = rest.substr(1, colon - 1);
            rest = rest.substr(colon);
            if (conversion != "s" && conversion != "r" && conversion != "a")
                return runtime_.fail("unknown conversion specifier '{}'", conversion);
        }
        if (rest.starts_with(':')) spec = rest.substr(1);

        Item value;
        if (!lookup(name, value)) return false;
        std::string text, expanded;
        if (conversion == "s") {
            if (!append_text(runtime_, text, value)) return false;
            value = runtime_.text(text);
        } else if (!conversion.empty()) {
            if (!append_repr(runtime_, text, value)) return false;
            value = runtime_.text(text);
        }
        if (!run(spec, level + 1, expanded)) return false;
        if (!markup_ || level > 0) return format_value(runtime_, value, expanded, out);
        std::string formatted;
        if (!format_value(runtime_, value, expanded, formatted)) return false;
        out += value.is_string() && value.markup ? formatted : escape_html(formatted);
        return true;
    }

    bool lookup(std::string_view name, Item& out) {
        const size_t first_end = std::min(name.find_first_of(".["), name.size());
        const std::string_view first = name.substr(0, first_end);
        std::string_view rest = name.substr(first_end);
        int64_t index = -1;
        if (first.empty()) {
            if (numbering_ == Numbering::manual)
                return runtime_.fail("cannot switch from manual field specification to automatic field numbering");
            numbering_ = Numbering::automatic;
            index = next_++;
        } else if (first.find_first_not_of("0123456789") == std::string_view::npos) {
            if (numbering_ == Numbering::automatic)
                return runtime_.fail("cannot switch from automatic field numbering to manual field specification");
            numbering_ = Numbering::manual;
            size_t at = 0;
            if (!digits(first, at, index)) return runtime_.fail("too many digits in format string");
        }
        if (index >= 0) {
            if (static_cast<size_t>(index) >= positional_.size())
                return runtime_.fail("replacement index {} out of range for positional args tuple", index);
            out = positional_[static_cast<size_t>(index)];
        } else if (!named(first, out)) {
            return runtime_.fail("format() has no argument '{}'", first);
        }
        while (!rest.empty()) {
            const bool item = rest.front() == '[';
            rest.remove_prefix(1);
            const size_t end = std::min(rest.find_first_of(item ? "]" : ".["), rest.size());
            const std::string_view key = rest.substr(0, end);
            if (key.empty() || (item && end == rest.size())) return runtime_.fail("empty attribute in format string");
            rest.remove_prefix(item ? end + 1 : end);
            if (item && !rest.empty() && rest.front() != '.' && rest.front() != '[')
                return runtime_.fail("only '.' or '[' may follow ']' in format field specifier");
            Item next;
            if (!item) {
                if (!get_attribute(runtime_, out, runtime_.arena().copy(key), next)) return false;
            } else {
                size_t at = 0;
                const bool number =
                    key.find_first_not_of("0123456789") == std::string_view::npos && digits(key, at, index);
                const Item wanted = number ? Item::of(index) : runtime_.text(key);
                if (!get_item(runtime_, out, wanted, next)) return false;
            }
            out = next;
        }
        return true;
    }

    bool named(std::string_view name, Item& out) {
        for (const Keyword& keyword : keywords_) {
            if (keyword.name != name) continue;
            out = keyword.value;
            return true;
        }
        const Item* value = named_ ? find(*named_, name) : nullptr;
        if (value) out = *value;
        return value != nullptr;
    }

    Runtime& runtime_;
    bool markup_;
    std::span<const Item> positional_;
    const Dict* named_;
    std::span<const Keyword> keywords_;
    enum class Numbering { unknown, automatic, manual } numbering_ = Numbering::unknown;
    int64_t next_ = 0;
};

}  // namespace

bool format_braces(Runtime& runtime, const Item& format, const Arguments& arguments, Item& out) {
    std::string text;
    BraceFormat braces(runtime, format.markup, arguments.positional, nullptr, arguments.named);
    if (!braces.run(format.view_text(), 0, text)) return false;
    out = runtime.text(text, format.markup);
    return true;
}

bool format_mapping(Runtime& runtime, const Item& format, const Item& mapping, Item& out) {
    if (!mapping.is(Kind::dict)) return runtime.fail("format_map() needs a mapping, not '{}'", type_name(mapping));
    std::string text;
    BraceFormat braces(runtime, format.markup, {}, mapping.dict, {});
    if (!braces.run(format.view_text(), 0, text)) return false;
    out = runtime.text(text, format.markup);
    return true;
}

}  // namespace nibble::text::jinja
