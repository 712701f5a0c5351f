// Filters on text.
#include "text/jinja/binding.h"
#include "text/jinja/filters.h"
#include "text/jinja/methods.h"
#include "text/jinja/python_text.h"
#include "text/jinja/unicode.h"

#include <algorithm>
#include <cstring>

namespace nibble::text::jinja {
namespace {

const Item kNone = Item::none();

template <std::string (*Map)(std::string_view)>
bool mapped(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Item text;
    if (!bind_nothing(runtime, "filter", arguments) || !to_soft_text(runtime, value, text) ||
        !runtime.allow_text(text.length))
        return false;
    out = runtime.text(Map(text.view_text()), text.markup);
    return true;
}

// Every word with a capital; a word begins behind white space or one of -({[<.
bool title(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    std::string_view s;
    if (!bind_nothing(runtime, "title", arguments) || !to_text(runtime, value, s) || !runtime.allow_text(s.size()))
        return false;
    std::string text;
    auto is_separator = [](char32_t c) {
        return is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
    };
    for (size_t at = 0; at < s.size();) {
        const size_t begin = at;
        const bool separators = is_separator(next_code_point(s, at));
        const size_t behind_first = at;
        while (at < s.size()) {
            size_t next = at;
            if (is_separator(next_code_point(s, next)) != separators) break;
            at = next;
        }
        text += to_upper(s.substr(begin, behind_first - begin));
        text += to_lower(s.substr(behind_first, at - behind_first));
    }
    out = runtime.text(text);
    return true;
}

bool trim(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Item chars, text;
    if (!bind(runtime, "trim", arguments, {{"chars", kNone}}, &chars) || !to_soft_text(runtime, value, text))
        return false;
    if (!chars.is_none() && !chars.is_string())
        return runtime.fail("trim() needs a string, not '{}'", type_name(chars));
    const std::string_view s = text.view_text();
    out = Item::of(chars.is_none() ? strip(s, Side::both) : strip(s, chars.view_text(), Side::both), text.markup);
    return true;
}

bool replace_filter(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Item p[3];
    int64_t limit = -1;
    std::string_view s, from, to;
    if (!bind(runtime, "replace", arguments, {{"old", Item()}, {"new", Item()}, {"count", kNone}}, p) ||
        (!p[2].is_none() && !to_integer(runtime, "replace", p[2], limit)))
        return false;
    return to_text(runtime, value, s) && to_text(runtime, p[0], from) && to_text(runtime, p[1], to) &&
           replace_text(runtime, s, from, to, limit, false, out);
}

bool center(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Item p, text;
    int64_t width;
    return bind(runtime, "center", arguments, {{"width", Item::of(int64_t{80})}}, &p) &&
           to_integer(runtime, "center", p, width) && to_soft_text(runtime, value, text) &&
           pad(runtime, text, width, " ", 1, out);
}

bool indent(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Item p[3];
    if (!bind(runtime, "indent", arguments,
              {{"width", Item::of(int64_t{4})}, {"first", Item::of(false)}, {"blank", Item::of(false)}}, p))
        return false;
    if (value.is_undefined()) return runtime.fail_undefined(value);
    if (!value.is_string()) return runtime.fail("indent() needs a string, not '{}'", type_name(value));
    std::string indention;
    if (p[0].is_string()) {
        indention = p[0].view_text();
        if (value.markup && !p[0].markup) indention = escape_html(indention);
    } else {
        int64_t width;
        if (!to_integer(runtime, "indent", p[0], width)) return false;
        width = std::max<int64_t>(width, 0);
        if (!runtime.allow_text(static_cast<size_t>(width))) return false;
        indention.assign(static_cast<size_t>(width), ' ');
    }
    // A line end is put behind the text, so that one at its end counts as a last, empty line.
    const std::string source = std::string(value.view_text()) + '\n';
    const std::vector<std::string_view> lines = split_lines(source, false);
    if (!runtime.allow_text(source.size() + lines.size() * indention.size())) return false;
    std::string text = truth(p[1]) ? indention : std::string();
    for (size_t i = 0; i < lines.size(); i++) {
        if (i > 0) {
            text += '\n';
            if (truth(p[2]) || !lines[i].empty()) text += indention;
        }
        text += lines[i];
    }
    out = runtime.text(text, value.markup);
    return true;
}

bool truncate(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Item p[4];
    int64_t limit, leeway = 5;
    if (!bind(runtime, "truncate", arguments,
              {{"length", Item::of(int64_t{255})},
               {"killwords", Item::of(false)},
               {"end", Item::of(std::string_view("..."))},
               {"leeway", kNone}},
              p) ||
        !to_integer(runtime, "truncate", p[0], limit) ||
        (!p[3].is_none() && !to_integer(runtime, "truncate", p[3], leeway)))
        return false;
    if (!p[2].is_string()) return runtime.fail("truncate() needs a string as its end");
    const int64_t end_length = static_cast<int64_t>(code_points(p[2].view_text()));
    if (limit < end_length) return runtime.fail("truncate(): expected length >= {}, got {}", end_length, limit);
    if (leeway < 0) return runtime.fail("truncate(): expected leeway >= 0, got {}", leeway);
    int64_t size;
    if (!length(runtime, value, size)) return false;
    if (size <= limit || size - limit <= leeway) {
        out = value;
        return true;
    }
    if (!value.is_string()) return runtime.fail("truncate() needs a string, not '{}'", type_name(value));
    std::string_view s = value.view_text();
    s = s.substr(0, byte_offset(s, static_cast<size_t>(limit - end_length)));
    if (!truth(p[1])) {
        const size_t space = s.rfind(' ');
        if (space != std::string_view::npos) s = s.substr(0, space);
    }
    return arithmetic(runtime, Operator::add, Item::of(s, value.markup), p[2], out);
}

bool wordcount(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    std::string_view s;
    if (!bind_nothing(runtime, "wordcount", arguments) || !to_text(runtime, value, s)) return false;
    int64_t n = 0;
    bool inside = false;
    for (size_t at = 0; at < s.size();) {
        const bool word = is_word(next_code_point(s, at));
        n += word && !inside;
        inside = word;
    }
    out = Item::of(n);
    return true;
}

bool escape_filter(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    return bind_nothing(runtime, "escape", arguments) && escape(runtime, value, out);
}

bool forceescape(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    std::string_view text;
    return bind_nothing(runtime, "forceescape", arguments) && to_text(runtime, value, text) &&
           escape(runtime, Item::of(text), out);
}

bool format_filter(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    if (!arguments.positional.empty() && !arguments.named.empty())
        return runtime.fail("format() cannot take positional and keyword arguments at the same time");
    Item text, values;
    if (!to_soft_text(runtime, value, text)) return false;
    if (arguments.named.empty()) {
        if (!runtime.tuple(arguments.positional, values)) return false;
    } else {
        DictBuilder dict(runtime);
        for (const Keyword& keyword : arguments.named)
            if (!dict.set(Item::of(keyword.name), keyword.value)) return false;
        if (!dict.finish(values)) return false;
    }
    return format_percent(runtime, text, values, out);
}

void append_url_quoted(std::string& out, std::string_view s, bool query) {
    constexpr char kHex[] = "0123456789ABCDEF";
    for (char c : s) {
        const bool plain =
            (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (c && std::strchr("_.-~", c));
        if (plain || (c == '/' && !query)) {
            out += c;
        } else if (c == ' ' && query) {
            out += '+';
        } else {
            out += '%';
            out += kHex[static_cast<unsigned char>(c) >> 4];
            out += kHex[static_cast<unsigned char>(c) & 15];
        }
    }
}

bool urlencode(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    std::string text;
    std::string_view part;
    if (!bind_nothing(runtime, "urlencode", arguments)) return false;
    if (value.is_string() || !is_iterable(value)) {
        if (!to_text(runtime, value, part) || !runtime.allow_text(3 * part.size())) return false;
        append_url_quoted(text, part, false);
    } else {
        Item pairs = value;
        if (value.is(Kind::dict)) pairs = Item::of(runtime.make(View{View::Part::items, value.dict}));
        Cursor cursor;
        Item item;
        if (!cursor.open(runtime, pairs)) return false;
        for (bool first = true; cursor.next(runtime, item); first = false) {
            std::vector<Item> pair;
            if (!collect(runtime, item, pair)) return false;
            if (pair.size() != 2) return runtime.fail("urlencode needs pairs");
            if (!first) text += '&';
            for (size_t i = 0; i < 2; i++) {
                if (i) text += '=';
                if (!to_text(runtime, pair[i], part) || !runtime.allow_text(text.size() + 3 * part.size()))
                    return false;
                append_url_quoted(text, part, true);
            }
        }
        if (runtime.failed()) return false;
    }
    out = runtime.text(text);
    return true;
}

bool xmlattr(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Item autospace, escaped;
    if (!bind(runtime, "xmlattr", arguments, {{"autospace", Item::of(true)}}, &autospace)) return false;
    if (value.is_undefined()) return runtime.fail_undefined(value);
    if (!value.is(Kind::dict)) return runtime.fail("xmlattr needs a mapping, not '{}'", type_name(value));
    std::string text;
    for (const Entry& entry : value.dict->span()) {
        if (entry.value.is_none() || entry.value.is_undefined()) continue;
        if (!entry.key.is_string()) return runtime.fail("xmlattr needs strings as names");
        const std::string_view name = entry.key.view_text();
        if (name.find_first_of(" \t\n\r\f\v/>=") != std::string_view::npos)
            return runtime.fail("invalid character in attribute name '{}'", name);
        if (!text.empty()) text += ' ';
        if (!escape(runtime, entry.key, escaped)) return false;
        text.append(escaped.view_text()).append("=\"");
        if (!escape(runtime, entry.value, escaped) || !runtime.allow_text(text.size() + escaped.length)) return false;
        text.append(escaped.view_text()).append("\"");
    }
    if (truth(autospace) && !text.empty()) text.insert(text.begin(), ' ');
    out = runtime.text(text);
    return true;
}

constexpr FilterRow kFilters[] = {
    {"capitalize", mapped<to_capitalized>},
    {"center", center},
    {"e", escape_filter},
    {"escape", escape_filter},
    {"forceescape", forceescape},
    {"format", format_filter},
    {"indent", indent},
    {"lower", mapped<to_lower>},
    {"replace", replace_filter},
    {"title", title},
    {"trim", trim},
    {"truncate", truncate},
    {"upper", mapped<to_upper>},
    {"urlencode", urlencode},
    {"wordcount", wordcount},
    {"xmlattr", xmlattr},
};

}  // namespace

std::span<const FilterRow> text_filters() {
    return kFilters;
}

}  // namespace nibble::text::jinja
