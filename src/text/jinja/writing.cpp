// str(), repr() and json.dumps() of Python, on Items; HTML escaping as markupsafe does it.
#include "text/jinja/loop.h"
#include "text/jinja/operations.h"
#include "text/jinja/python_text.h"
#include "text/jinja/unicode.h"
#include "text/value.h"

#include <algorithm>
#include <cmath>

namespace nibble::text::jinja {
namespace {

constexpr int kMaxDepth = 2 * kMaxNesting;  // a namespace can hold itself

class Writer {
public:
    Writer(Runtime& runtime, std::string& out) : runtime_(runtime), out_(out) {}

    bool repr(const Item& item, int depth) {
        if (depth > kMaxDepth) return runtime_.fail("a value is nested too deeply to be written");
        if (!runtime_.spend(1) || out_.size() > runtime_.limits().output_bytes) return runtime_.allow_text(out_.size());
        switch (item.kind) {
            case Kind::missing:
            case Kind::undefined:
                out_ += "Undefined";
                return true;
            case Kind::none:
                out_ += "None";
                return true;
            case Kind::boolean:
                out_ += item.boolean ? "True" : "False";
                return true;
            case Kind::integer:
                fmt::format_to(std::back_inserter(out_), "{}", item.integer);
                return true;
            case Kind::real:
                append_float(out_, item.real);
                return true;
            case Kind::string:
                if (!runtime_.spend_bytes(item.length)) return false;
                if (item.markup) out_ += "Markup(";
                append_quoted(out_, item.view_text());
                if (item.markup) out_ += ')';
                return true;
            case Kind::list:
                return elements(item.list->span(), "[", "]", depth);
            case Kind::tuple:
                return elements(item.list->span(), "(", item.list->size == 1 ? ",)" : ")", depth);
            case Kind::dict:
                return entries(item.dict->span(), depth);
            case Kind::range:
                fmt::format_to(std::back_inserter(out_), "range({}, {}", item.range->start, item.range->stop);
                if (item.range->step != 1) fmt::format_to(std::back_inserter(out_), ", {}", item.range->step);
                out_ += ')';
                return true;
            case Kind::view:
                return view(*item.view, depth);
            case Kind::iterator:
                fmt::format_to(std::back_inserter(out_), "<{} object>", item.iterator->type);
                return true;
            case Kind::name_space:
                out_ += "<Namespace ";
                if (!entries({item.name_space->entries, item.name_space->size}, depth)) return false;
                out_ += '>';
                return true;
            case Kind::macro:
                out_ += "<Macro ";
                if (item.macro->name.empty())
                    out_ += "anonymous";
                else
                    append_quoted(out_, item.macro->name);
                out_ += '>';
                return true;
            case Kind::callable: {
                const Item& subject = item.callable->subject;
                if (subject.is(Kind::missing))
                    fmt::format_to(std::back_inserter(out_), "<function {}>", item.callable->name);
                else
                    fmt::format_to(std::back_inserter(out_), "<built-in method {} of {} object>", item.callable->name,
                                   type_name(subject));
                return true;
            }
            case Kind::loop:
                return loop(*item.loop);
            case Kind::cycler:
                out_ += "<Cycler object>";
                return true;
            case Kind::joiner:
                out_ += "<Joiner object>";
                return true;
        }
        return true;
    }

    bool json(const Item& item, const JsonStyle& style, int depth) {
        if (depth > kMaxDepth) return runtime_.fail("a value is nested too deeply to be written");
        if (!runtime_.spend(1) || out_.size() > runtime_.limits().output_bytes) return runtime_.allow_text(out_.size());
        switch (item.kind) {
            case Kind::none:
                out_ += "null";
                return true;
            case Kind::boolean:
                out_ += item.boolean ? "true" : "false";
                return true;
            case Kind::real:
                json_real(item.real);
                return true;
            case Kind::integer:
                return repr(item, depth);
            case Kind::string:
                if (!runtime_.spend_bytes(item.length)) return false;
                append_json_string(out_, item.view_text(), style.ensure_ascii);
                return true;
            case Kind::list:
            case Kind::tuple: {
                out_ += '[';
                for (uint32_t i = 0; i < item.list->size; i++) {
                    if (i) out_ += style.item_separator;
                    line(style, depth + 1);
                    if (!json(item.list->items[i], style, depth + 1)) return false;
                }
                if (item.list->size) line(style, depth);
                out_ += ']';
                return true;
            }
            case Kind::dict:
                return json_dict(*item.dict, style, depth);
            default:
                return runtime_.fail("object of type {} is not JSON serializable", type_name(item));
        }
    }

private:
    bool elements(std::span<const Item> items, const char* open, const char* close, int depth) {
        out_ += open;
        for (size_t i = 0; i < items.size(); i++) {
            if (i) out_ += ", ";
            if (!repr(items[i], depth + 1)) return false;
        }
        out_ += close;
        return true;
    }

    bool entries(std::span<const Entry> entries, int depth) {
        out_ += '{';
        for (size_t i = 0; i < entries.size(); i++) {
            if (i) out_ += ", ";
            if (!repr(entries[i].key, depth + 1)) return false;
            out_ += ": ";
            if (!repr(entries[i].value, depth + 1)) return false;
        }
        out_ += '}';
        return true;
    }

    bool view(const View& view, int depth) {
        out_ += view.part == View::Part::keys     ? "dict_keys(["
                : view.part == View::Part::values ? "dict_values(["
                                                  : "dict_items([";
        const auto entries = view.dict->span();
        for (size_t i = 0; i < entries.size(); i++) {
            if (i) out_ += ", ";
            const Item pair[2] = {entries[i].key, entries[i].value};
            if (view.part == View::Part::items) {
                if (!elements(pair, "(", ")", depth + 1)) return false;
            } else if (!repr(pair[view.part == View::Part::values], depth + 1)) {
                return false;
            }
        }
        out_ += "])";
        return true;
    }

    bool loop(Loop& loop) {
        int64_t total;
        if (!loop_length(runtime_, loop, total)) return false;
        fmt::format_to(std::back_inserter(out_), "<LoopContext {}/{}>", loop.index0 + 1, total);
        return true;
    }

    void json_real(double d) {
        if (std::isnan(d))
            out_ += "NaN";
        else if (std::isinf(d))
            out_ += d < 0 ? "-Infinity" : "Infinity";
        else
            append_float(out_, d);
    }

    void line(const JsonStyle& style, int depth) {
        if (!style.indented) return;
        out_ += '\n';
        for (int i = 0; i < depth; i++) out_ += style.indent;
    }

    bool json_key(const Item& key, const JsonStyle& style) {
        switch (key.kind) {
            case Kind::string:
                append_json_string(out_, key.view_text(), style.ensure_ascii);
                return true;
            case Kind::none:
            case Kind::boolean:
            case Kind::integer:
            case Kind::real:
                out_ += '"';
                if (!json(key, style, 0)) return false;
                out_ += '"';
                return true;
            default:
                return runtime_.fail("JSON keys must be str, int, float, bool or None, not {}", type_name(key));
        }
    }

    bool json_dict(const Dict& dict, const JsonStyle& style, int depth) {
        std::vector<const Entry*> order;
        order.reserve(dict.size);
        for (const Entry& entry : dict.span()) order.push_back(&entry);
        if (style.sort_keys) {
            if (!runtime_.spend(dict.size * 4)) return false;
            std::stable_sort(order.begin(), order.end(), [&](const Entry* a, const Entry* b) {
                bool before = false;
                compare(runtime_, Operator::less, a->key, b->key, before);
                return before;
            });
            if (runtime_.failed()) return false;
        }
        out_ += '{';
        bool first = true;
        for (const Entry* entry : order) {
            if (!first) out_ += style.item_separator;
            first = false;
            line(style, depth + 1);
            if (!json_key(entry->key, style)) return false;
            out_ += style.key_separator;
            if (!json(entry->value, style, depth + 1)) return false;
        }
        if (!first) line(style, depth);
        out_ += '}';
        return true;
    }

    Runtime& runtime_;
    std::string& out_;
};

}  // namespace

void append_quoted(std::string& out, std::string_view s) {
    const char quote = s.find('\'') != std::string_view::npos && s.find('"') == std::string_view::npos ? '"' : '\'';
    out += quote;
    for (size_t at = 0; at < s.size();) {
        const size_t begin = at;
        const char32_t c = next_code_point(s, at);
        const uint32_t v = static_cast<uint32_t>(c);
        if (c == static_cast<unsigned char>(quote) || c == '\\') {
            out += '\\';
            out += static_cast<char>(c);
        } else if (c == '\n') {
            out += "\\n";
        } else if (c == '\r') {
            out += "\\r";
        } else if (c == '\t') {
            out += "\\t";
        } else if (is_printable(c)) {
            out.append(s.substr(begin, at - begin));
        } else if (c < 0x100) {
            fmt::format_to(std::back_inserter(out), "\\x{:02x}", v);
        } else if (c < 0x10000) {
            fmt::format_to(std::back_inserter(out), "\\u{:04x}", v);
        } else {
            fmt::format_to(std::back_inserter(out), "\\U{:08x}", v);
        }
    }
    out += quote;
}

bool append_repr(Runtime& runtime, std::string& out, const Item& item) {
    return Writer(runtime, out).repr(item, 0);
}

bool append_text(Runtime& runtime, std::string& out, const Item& item) {
    if (item.is_string()) {
        if (!runtime.spend_bytes(item.length)) return false;
        out += item.view_text();
        return true;
    }
    if (item.is_undefined()) return true;
    return append_repr(runtime, out, item);
}

bool to_text(Runtime& runtime, const Item& item, std::string_view& out) {
    out = {};
    if (item.is_string()) {
        out = item.view_text();
        return true;
    }
    std::string text;
    if (!append_text(runtime, text, item)) return false;
    out = runtime.arena().copy(text);
    return true;
}

bool to_soft_text(Runtime& runtime, const Item& item, Item& out) {
    if (item.is_string()) {
        out = item;
        return true;
    }
    std::string_view text;
    if (!to_text(runtime, item, text)) return false;
    out = Item::of(text);
    return true;
}

std::string escape_html(std::string_view s) {
    std::string out;
    out.reserve(s.size());
    for (char c : s) {
        switch (c) {
            case '&':
                out += "&amp;";
                break;
            case '<':
                out += "&lt;";
                break;
            case '>':
                out += "&gt;";
                break;
            case '"':
                out += "&#34;";
                break;
            case '\'':
                out += "&#39;";
                break;
            default:
                out += c;
        }
    }
    return out;
}

bool escape(Runtime& runtime, const Item& item, Item& out) {
    if (item.is_string() && item.markup) {
        out = item;
        return true;
    }
    std::string_view text;
    if (!to_text(runtime, item, text) || !runtime.allow_text(text.size())) return false;
    const std::string escaped = escape_html(text);
    if (!runtime.allow_text(escaped.size())) return false;
    out = runtime.text(escaped, true);
    return true;
}

bool replace_text(Runtime& runtime, std::string_view s, std::string_view from, std::string_view to, int64_t limit,
                  bool markup, Item& out) {
    if (!runtime.spend_bytes(s.size())) return false;
    int64_t times = count(s, from);
    if (limit >= 0) times = std::min(times, limit);
    if (times == 0) {
        out = Item::of(s, markup);
        return true;
    }
    if (to.size() > from.size() &&
        !runtime.allow_text(s.size() + static_cast<size_t>(times) * (to.size() - from.size())))
        return false;
    out = runtime.text(replace(s, from, to, limit), markup);
    return true;
}

bool append_json(Runtime& runtime, std::string& out, const Item& item, const JsonStyle& style) {
    return Writer(runtime, out).json(item, style, 0);
}

}  // namespace nibble::text::jinja
