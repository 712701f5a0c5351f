// Methods of str.
#include "text/jinja/binding.h"
#include "text/jinja/methods.h"
#include "text/jinja/python_text.h"
#include "text/jinja/unicode.h"

#include <algorithm>

namespace nibble::text::jinja {
namespace {

const Item kNone = Item::none();

bool text_argument(Runtime& runtime, std::string_view method, const Item& item, std::string_view& out) {
    if (!item.is_string()) return runtime.fail("{}() needs a string, not '{}'", method, type_name(item));
    out = item.view_text();
    return true;
}

template <std::string (*Map)(std::string_view)>
bool mapped(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    if (!bind_nothing(runtime, "str method", arguments) || !runtime.allow_text(self.length)) return false;
    out = runtime.text(Map(self.view_text()), self.markup);
    return true;
}

template <Side side>
bool stripped(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    Item chars;
    std::string_view set;
    if (!bind(runtime, "strip", arguments, {{"", kNone}}, &chars)) return false;
    if (!chars.is_none() && !text_argument(runtime, "strip", chars, set)) return false;
    out = Item::of(chars.is_none() ? strip(self.view_text(), side) : strip(self.view_text(), set, side), self.markup);
    return true;
}

bool list_of(Runtime& runtime, const std::vector<std::string_view>& pieces, bool markup, Item& out) {
    std::vector<Item> items;
    items.reserve(pieces.size());
    for (std::string_view piece : pieces) items.push_back(Item::of(piece, markup));
    return runtime.list(items, out);
}

template <bool from_right>
bool split(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    Item p[2];
    int64_t limit;
    std::string_view separator;
    if (!bind(runtime, "split", arguments, {{"sep", kNone}, {"maxsplit", Item::of(int64_t{-1})}}, p) ||
        !to_integer(runtime, "split", p[1], limit))
        return false;
    if (p[0].is_none()) return list_of(runtime, split_words(self.view_text(), limit, from_right), self.markup, out);
    if (!text_argument(runtime, "split", p[0], separator)) return false;
    if (separator.empty()) return runtime.fail("split() with an empty separator");
    return list_of(runtime, split_at(self.view_text(), separator, limit, from_right), self.markup, out);
}

bool splitlines(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    Item keep;
    return bind(runtime, "splitlines", arguments, {{"keepends", Item::of(false)}}, &keep) &&
           list_of(runtime, split_lines(self.view_text(), truth(keep)), self.markup, out);
}

// The part [start:end] of a text, and where it begins. `inside` is false when start lies behind the end.
struct Window {
    std::string_view text;
    size_t offset = 0;  // bytes
    bool inside = true;
};

bool window(Runtime& runtime, std::string_view s, const Item& start, const Item& end, Window& out) {
    out.text = s;
    if (start.is_none() && end.is_none()) return true;
    const int64_t length = static_cast<int64_t>(code_points(s));
    auto place = [&](const Item& item, int64_t when_none, int64_t& at) {
        at = when_none;
        if (item.is_none()) return true;
        if (!item.is_integer()) return runtime.fail("slice indices must be integers or None");
        at = item.as_integer();
        if (at < 0) at = std::max<int64_t>(0, at + length);
        return true;
    };
    int64_t from, to;
    if (!place(start, 0, from) || !place(end, length, to)) return false;
    to = std::min(to, length);
    out.inside = from <= to;
    if (!out.inside) return true;
    out.offset = byte_offset(s, static_cast<size_t>(from));
    out.text = s.substr(out.offset, byte_offset(s.substr(out.offset), static_cast<size_t>(to - from)));
    return true;
}

template <bool at_end>
bool affix(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    const std::string_view name = at_end ? "endswith" : "startswith";
    Item p[3];
    Window w;
    if (!bind(runtime, name, arguments, {{"", Item()}, {"", kNone}, {"", kNone}}, p) ||
        !window(runtime, self.view_text(), p[1], p[2], w))
        return false;
    auto matches = [&](std::string_view part) {
        if (!w.inside) return false;
        return at_end ? w.text.ends_with(part) : w.text.starts_with(part);
    };
    bool yes = false;
    std::string_view part;
    if (p[0].is(Kind::tuple)) {
        for (const Item& item : p[0].list->span()) {
            if (!text_argument(runtime, name, item, part)) return false;
            if ((yes = matches(part))) break;
        }
    } else {
        if (!text_argument(runtime, name, p[0], part)) return false;
        yes = matches(part);
    }
    out = Item::of(yes);
    return true;
}

template <bool from_right, bool must_exist>
bool find(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    Item p[3];
    Window w;
    std::string_view part;
    if (!bind(runtime, "find", arguments, {{"", Item()}, {"", kNone}, {"", kNone}}, p) ||
        !text_argument(runtime, "find", p[0], part) || !window(runtime, self.view_text(), p[1], p[2], w))
        return false;
    const size_t at = !w.inside    ? std::string_view::npos
                      : from_right ? find_last(w.text, part)
                                   : find_first(w.text, part);
    if (at == std::string_view::npos) {
        if (must_exist) return runtime.fail("substring not found");
        out = Item::of(int64_t{-1});
        return true;
    }
    out = Item::of(static_cast<int64_t>(code_points(self.view_text().substr(0, w.offset + at))));
    return true;
}

bool count_part(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    Item p[3];
    Window w;
    std::string_view part;
    if (!bind(runtime, "count", arguments, {{"", Item()}, {"", kNone}, {"", kNone}}, p) ||
        !text_argument(runtime, "count", p[0], part) || !window(runtime, self.view_text(), p[1], p[2], w))
        return false;
    out = Item::of(w.inside ? count(w.text, part) : int64_t{0});
    return true;
}

bool replaced(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    Item p[3];
    int64_t limit;
    std::string_view from;
    if (!bind(runtime, "replace", arguments, {{"", Item()}, {"", Item()}, {"", Item::of(int64_t{-1})}}, p) ||
        !text_argument(runtime, "replace", p[0], from) || !to_integer(runtime, "replace", p[2], limit))
        return false;
    if (self.markup && !escape(runtime, p[1], p[1])) return false;
    std::string_view to;
    return text_argument(runtime, "replace", p[1], to) &&
           replace_text(runtime, self.view_text(), from, to, limit, self.markup, out);
}

bool join(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    Item source;
    Cursor cursor;
    if (!bind(runtime, "join", arguments, {{"", Item()}}, &source) || !cursor.open(runtime, source)) return false;
    std::string text;
    Item item;
    for (bool first = true; cursor.next(runtime, item); first = false) {
        if (self.markup) {
            if (!escape(runtime, item, item)) return false;
        } else if (!item.is_string()) {
            return runtime.fail("join() needs strings, not '{}'", type_name(item));
        }
        if (!runtime.allow_text(text.size() + self.length + item.length)) return false;
        if (!first) text += self.view_text();
        text += item.view_text();
    }
    if (runtime.failed()) return false;
    out = runtime.text(text, self.markup);
    return true;
}

enum class Align { left, right, center };

template <Align align>
bool padded(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    Item p[2];
    int64_t width;
    std::string_view fill;
    if (!bind(runtime, "justify", arguments, {{"", Item()}, {"", Item::of(std::string_view(" "))}}, p) ||
        !to_integer(runtime, "justify", p[0], width) || !text_argument(runtime, "justify", p[1], fill))
        return false;
    if (code_points(fill) != 1) return runtime.fail("the fill character must be exactly one character long");
    return pad(runtime, self, width, fill, align == Align::left ? 0 : align == Align::right ? 2 : 1, out);
}

bool zfill(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    Item p;
    int64_t width;
    if (!bind(runtime, "zfill", arguments, {{"", Item()}}, &p) || !to_integer(runtime, "zfill", p, width)) return false;
    const std::string_view s = self.view_text();
    const int64_t length = static_cast<int64_t>(code_points(s));
    if (width <= length) {
        out = self;
        return true;
    }
    if (!runtime.allow_text(s.size() + static_cast<size_t>(width - length))) return false;
    const size_t sign = !s.empty() && (s[0] == '-' || s[0] == '+') ? 1 : 0;
    std::string text(s.substr(0, sign));
    text.append(static_cast<size_t>(width - length), '0').append(s.substr(sign));
    out = runtime.text(text, self.markup);
    return true;
}

bool expandtabs(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    Item p;
    int64_t size;
    if (!bind(runtime, "expandtabs", arguments, {{"tabsize", Item::of(int64_t{8})}}, &p) ||
        !to_integer(runtime, "expandtabs", p, size))
        return false;
    std::string text;
    int64_t column = 0;
    const std::string_view s = self.view_text();
    for (size_t at = 0; at < s.size();) {
        const size_t begin = at;
        const char32_t c = next_code_point(s, at);
        if (c == '\t') {
            const int64_t spaces = size > 0 ? size - column % size : 0;
            column += spaces;
            if (!runtime.allow_text(text.size() + static_cast<size_t>(spaces))) return false;
            text.append(static_cast<size_t>(spaces), ' ');
            continue;
        }
        column = c == '\n' || c == '\r' ? 0 : column + 1;
        text += s.substr(begin, at - begin);
    }
    out = runtime.text(text, self.markup);
    return true;
}

template <bool from_right>
bool partition(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    Item p;
    std::string_view separator;
    if (!bind(runtime, "partition", arguments, {{"", Item()}}, &p) ||
        !text_argument(runtime, "partition", p, separator))
        return false;
    if (separator.empty()) return runtime.fail("partition() with an empty separator");
    const std::string_view s = self.view_text();
    const size_t at = from_right ? find_last(s, separator) : find_first(s, separator);
    std::string_view parts[3] = {from_right ? std::string_view() : s, {}, from_right ? s : std::string_view()};
    if (at != std::string_view::npos) {
        parts[0] = s.substr(0, at);
        parts[1] = s.substr(at, separator.size());
        parts[2] = s.substr(at + separator.size());
    }
    const Item items[3] = {Item::of(parts[0], self.markup), Item::of(parts[1], self.markup),
                           Item::of(parts[2], self.markup)};
    return runtime.tuple(items, out);
}

template <bool at_end>
bool remove_affix(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    Item p;
    std::string_view part, s = self.view_text();
    if (!bind(runtime, "removeprefix", arguments, {{"", Item()}}, &p) ||
        !text_argument(runtime, "removeprefix", p, part))
        return false;
    if (at_end && s.ends_with(part)) s.remove_suffix(part.size());
    if (!at_end && s.starts_with(part)) s.remove_prefix(part.size());
    out = Item::of(s, self.markup);
    return true;
}

// isalpha() and its like: every character is of the class, and there is one.
template <bool (*Class)(char32_t)>
bool all_are(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    if (!bind_nothing(runtime, "str method", arguments)) return false;
    const std::string_view s = self.view_text();
    bool all = !s.empty() || Class == is_printable;
    for (size_t at = 0; all && at < s.size();) all = Class(next_code_point(s, at));
    out = Item::of(all);
    return true;
}

bool is_alphanumeric(char32_t c) {
    return is_alpha(c) || is_numeric(c) || is_digit(c);
}

bool isascii(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    out = Item::of(is_ascii(self.view_text()));
    return bind_nothing(runtime, "isascii", arguments);
}

bool isidentifier(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    out = Item::of(is_identifier(self.view_text()));
    return bind_nothing(runtime, "isidentifier", arguments);
}

template <bool (*Wanted)(std::string_view)>
bool cased(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    out = Item::of(Wanted(self.view_text()));
    return bind_nothing(runtime, "str method", arguments);
}

bool istitle(std::string_view s) {
    bool any = false, in_word = false;
    for (size_t at = 0; at < s.size();) {
        const char32_t c = next_code_point(s, at);
        if (is_upper(c) || is_title(c)) {
            if (in_word) return false;
            in_word = any = true;
        } else if (is_lower(c)) {
            if (!in_word) return false;
            any = true;
        } else {
            in_word = false;
        }
    }
    return any;
}

bool format_mapping_method(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    Item mapping;
    return bind(runtime, "format_map", arguments, {{"", Item()}}, &mapping) &&
           format_mapping(runtime, self, mapping, out);
}

constexpr Method kMethods[] = {
    {"capitalize", mapped<to_capitalized>},
    {"casefold", mapped<fold_case>},
    {"center", padded<Align::center>},
    {"count", count_part},
    {"encode", nullptr},
    {"endswith", affix<true>},
    {"expandtabs", expandtabs},
    {"find", find<false, false>},
    {"format", format_braces},
    {"format_map", format_mapping_method},
    {"index", find<false, true>},
    {"isalnum", all_are<is_alphanumeric>},
    {"isalpha", all_are<is_alpha>},
    {"isascii", isascii},
    {"isdecimal", all_are<is_decimal>},
    {"isdigit", all_are<is_digit>},
    {"isidentifier", isidentifier},
    {"islower", cased<is_lower_text>},
    {"isnumeric", all_are<is_numeric>},
    {"isprintable", all_are<is_printable>},
    {"isspace", all_are<is_space>},
    {"istitle", cased<istitle>},
    {"isupper", cased<is_upper_text>},
    {"join", join},
    {"ljust", padded<Align::left>},
    {"lower", mapped<to_lower>},
    {"lstrip", stripped<Side::left>},
    {"maketrans", nullptr},
    {"partition", partition<false>},
    {"removeprefix", remove_affix<false>},
    {"removesuffix", remove_affix<true>},
    {"replace", replaced},
    {"rfind", find<true, false>},
    {"rindex", find<true, true>},
    {"rjust", padded<Align::right>},
    {"rpartition", partition<true>},
    {"rsplit", split<true>},
    {"rstrip", stripped<Side::right>},
    {"split", split<false>},
    {"splitlines", splitlines},
    {"startswith", affix<false>},
    {"strip", stripped<Side::both>},
    {"swapcase", mapped<swap_case>},
    {"title", mapped<to_title>},
    {"translate", nullptr},
    {"upper", mapped<to_upper>},
    {"zfill", zfill},
};

}  // namespace

bool is_lower_text(std::string_view s) {
    bool any = false;
    for (size_t at = 0; at < s.size();) {
        const char32_t c = next_code_point(s, at);
        if (is_upper(c) || is_title(c)) return false;
        any |= is_lower(c);
    }
    return any;
}

bool is_upper_text(std::string_view s) {
    bool any = false;
    for (size_t at = 0; at < s.size();) {
        const char32_t c = next_code_point(s, at);
        if (is_lower(c) || is_title(c)) return false;
        any |= is_upper(c);
    }
    return any;
}

bool pad(Runtime& runtime, const Item& text, int64_t width, std::string_view fill, int where, Item& out) {
    const int64_t length = static_cast<int64_t>(code_points(text.view_text()));
    if (width <= length) {
        out = text;
        return true;
    }
    const int64_t total = width - length;
    if (static_cast<uint64_t>(total) > runtime.limits().output_bytes)
        return runtime.allow_text(static_cast<size_t>(total));
    if (!runtime.allow_text(text.length + static_cast<size_t>(total) * fill.size())) return false;
    // Python's centre puts the odd column to the left when the width is odd.
    const int64_t left = where == 0 ? 0 : where == 2 ? total : total / 2 + (total & width & 1);
    std::string padded;
    for (int64_t i = 0; i < left; i++) padded += fill;
    padded += text.view_text();
    for (int64_t i = left; i < total; i++) padded += fill;
    out = runtime.text(padded, text.markup);
    return true;
}

std::span<const Method> text_methods() {
    return kMethods;
}

}  // namespace nibble::text::jinja
