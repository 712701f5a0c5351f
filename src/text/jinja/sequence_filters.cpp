// Filters on lists, dicts and what else can be iterated.
#include "text/jinja/binding.h"
#include "text/jinja/filters.h"
#include "text/jinja/unicode.h"

#include <algorithm>
#include <string>

namespace nibble::text::jinja {
namespace {

const Item kNone = Item::none();
const Item kFalse = Item::of(false);

// What jinja2 writes as a generator: what went wrong while its items were computed is kept for whoever reads that far.
bool generator(Runtime& runtime, const std::vector<Item>& items, bool complete, Item& out) {
    std::string_view failure;
    if (!complete) {
        if (std::optional<Error> error = runtime.take_failure()) failure = runtime.arena().copy(error->message);
    }
    if (!runtime.iterator(items, "generator", out)) return false;
    out.iterator->failure = failure;
    return true;
}

// The key to compare an item by: a part of it, and without case unless asked otherwise.
bool key_of(Runtime& runtime, const Item& item, const Item& path, bool case_sensitive, const Item& fallback,
            Item& out) {
    if (!get_path(runtime, item, path, fallback, out)) return false;
    if (case_sensitive || !out.is_string()) return true;
    if (!runtime.spend_bytes(out.length)) return false;
    out = runtime.text(to_lower(out.view_text()));
    return true;
}

struct Keyed {
    Item key, item;
};

bool sort_keyed(Runtime& runtime, std::vector<Keyed>& items, bool reverse) {
    // std::stable_sort keeps within its bounds even when a comparison fails halfway.
    std::stable_sort(items.begin(), items.end(), [&](const Keyed& a, const Keyed& b) {
        bool before = false;
        if (runtime.failed()) return false;
        compare(runtime, Operator::less, reverse ? b.key : a.key, reverse ? a.key : b.key, before);
        return before;
    });
    return !runtime.failed();
}

bool list_of_items(Runtime& runtime, const std::vector<Keyed>& keyed, Item& out) {
    std::vector<Item> items;
    items.reserve(keyed.size());
    for (const Keyed& k : keyed) items.push_back(k.item);
    return runtime.list(items, out);
}

bool list(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    std::vector<Item> items;
    return bind_nothing(runtime, "list", arguments) && collect(runtime, value, items) && runtime.list(items, out);
}

bool first(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Cursor cursor;
    if (!bind_nothing(runtime, "first", arguments) || !cursor.open(runtime, value)) return false;
    if (!cursor.next(runtime, out)) out = Item::undefined(Absence::hint, "No first item, sequence was empty.");
    return !runtime.failed();
}

// The items backwards; fails on what Python's reversed() refuses.
bool reversed(Runtime& runtime, const Item& value, std::vector<Item>& out) {
    if (value.is(Kind::iterator) || !is_iterable(value) || value.is(Kind::loop))
        return runtime.fail("'{}' object is not reversible", type_name(value));
    if (!collect(runtime, value, out)) return false;
    std::reverse(out.begin(), out.end());
    return true;
}

bool last(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    if (!bind_nothing(runtime, "last", arguments)) return false;
    if (value.is_list() || value.is(Kind::tuple)) {
        out = value.list->size ? value.list->items[value.list->size - 1]
                               : Item::undefined(Absence::hint, "No last item, sequence was empty.");
        return true;
    }
    if (value.is_string() && value.length > 0) return get_item(runtime, value, Item::of(int64_t{-1}), out);
    std::vector<Item> items;
    if (!reversed(runtime, value, items)) return false;
    out = items.empty() ? Item::undefined(Absence::hint, "No last item, sequence was empty.") : items[0];
    return true;
}

bool reverse(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    if (!bind_nothing(runtime, "reverse", arguments)) return false;
    if (value.is_string()) return slice(runtime, value, kNone, kNone, Item::of(int64_t{-1}), out);
    std::vector<Item> items;
    if (value.is(Kind::iterator)) {
        if (!collect(runtime, value, items)) return false;
        std::reverse(items.begin(), items.end());
        return runtime.list(items, out);
    }
    return reversed(runtime, value, items) && runtime.iterator(items, "list_reverseiterator", out);
}

bool join(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Item p[2];
    std::string_view separator;
    Cursor cursor;
    if (!bind(runtime, "join", arguments, {{"d", Item::of(std::string_view())}, {"attribute", kNone}}, p) ||
        !to_text(runtime, p[0], separator) || !cursor.open(runtime, value))
        return false;
    std::string text;
    Item item;
    for (bool first = true; cursor.next(runtime, item); first = false) {
        if (!get_path(runtime, Item(item), p[1], kNone, item)) return false;
        if (!first) text += separator;
        if (!append_text(runtime, text, item) || !runtime.allow_text(text.size())) return false;
    }
    if (runtime.failed()) return false;
    out = runtime.text(text);
    return true;
}

bool items(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    if (!bind_nothing(runtime, "items", arguments)) return false;
    std::vector<Item> pairs;
    bool complete = true;
    if (value.is(Kind::dict))
        complete = collect(runtime, Item::of(runtime.make(View{View::Part::items, value.dict})), pairs);
    else if (!value.is_undefined())
        complete = runtime.fail("can only get item pairs from a mapping, not '{}'", type_name(value));
    return generator(runtime, pairs, complete, out);
}

bool dictsort(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Item p[3];
    if (!bind(runtime, "dictsort", arguments,
              {{"case_sensitive", kFalse}, {"by", Item::of(std::string_view("key"))}, {"reverse", kFalse}}, p))
        return false;
    const std::string_view by = p[1].is_string() ? p[1].view_text() : std::string_view();
    if (by != "key" && by != "value") return runtime.fail("dictsort() sorts by either \"key\" or \"value\"");
    if (value.is_undefined()) return runtime.fail_undefined(value);
    if (!value.is(Kind::dict)) return runtime.fail("dictsort() needs a mapping, not '{}'", type_name(value));
    std::vector<Keyed> keyed;
    for (const Entry& entry : value.dict->span()) {
        const Item pair[2] = {entry.key, entry.value};
        Keyed k;
        if (!runtime.tuple(pair, k.item) || !key_of(runtime, pair[by == "value"], kNone, truth(p[0]), kNone, k.key))
            return false;
        keyed.push_back(k);
    }
    return sort_keyed(runtime, keyed, truth(p[2])) && list_of_items(runtime, keyed, out);
}

// Sorts by one attribute or several, separated by commas.
bool sort(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Item p[3];
    std::vector<Item> source;
    if (!bind(runtime, "sort", arguments, {{"reverse", kFalse}, {"case_sensitive", kFalse}, {"attribute", kNone}}, p) ||
        !collect(runtime, value, source))
        return false;
    std::vector<Item> paths;
    if (p[2].is_string()) {
        std::string_view rest = p[2].view_text();
        for (;;) {
            const size_t comma = rest.find(',');
            paths.push_back(Item::of(rest.substr(0, comma)));
            if (comma == std::string_view::npos) break;
            rest.remove_prefix(comma + 1);
        }
    } else {
        paths.push_back(p[2]);
    }
    std::vector<Keyed> keyed;
    std::vector<Item> keys(paths.size());
    for (const Item& item : source) {
        Keyed k{.key = {}, .item = item};
        for (size_t i = 0; i < paths.size(); i++)
            if (!key_of(runtime, item, paths[i], truth(p[1]), kNone, keys[i])) return false;
        if (!runtime.list(keys, k.key)) return false;
        keyed.push_back(k);
    }
    return sort_keyed(runtime, keyed, truth(p[0])) && list_of_items(runtime, keyed, out);
}

bool unique(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Item p[2];
    if (!bind(runtime, "unique", arguments, {{"case_sensitive", kFalse}, {"attribute", kNone}}, p)) return false;
    std::vector<Item> kept;
    auto fill = [&] {
        Cursor cursor;
        Item item, key;
        DictBuilder seen(runtime);
        if (!cursor.open(runtime, value)) return false;
        while (cursor.next(runtime, item)) {
            if (!key_of(runtime, item, p[1], truth(p[0]), kNone, key)) return false;
            const size_t before = seen.size();
            if (!seen.set(key, kNone)) return false;
            if (seen.size() > before) kept.push_back(item);
        }
        return !runtime.failed();
    };
    const bool complete = fill();
    return generator(runtime, kept, complete, out);
}

template <bool largest>
bool extreme(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Item p[2];
    Cursor cursor;
    if (!bind(runtime, "min", arguments, {{"case_sensitive", kFalse}, {"attribute", kNone}}, p) ||
        !cursor.open(runtime, value))
        return false;
    Item item, key, best;
    out = Item::undefined(Absence::hint, "No aggregated item, sequence was empty.");
    while (cursor.next(runtime, item)) {
        if (!key_of(runtime, item, p[1], truth(p[0]), kNone, key)) return false;
        bool better = best.is(Kind::missing);
        if (!better && !compare(runtime, largest ? Operator::greater : Operator::less, key, best, better)) return false;
        if (!better) continue;
        best = key;
        out = item;
    }
    return !runtime.failed();
}

bool sum(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Item p[2];
    Cursor cursor;
    if (!bind(runtime, "sum", arguments, {{"attribute", kNone}, {"start", Item::of(int64_t{0})}}, p) ||
        !cursor.open(runtime, value))
        return false;
    if (p[1].is_string()) return runtime.fail("sum() can't sum strings");
    Item item, total = p[1];
    while (cursor.next(runtime, item)) {
        Item part, next;
        if (!get_path(runtime, item, p[0], kNone, part) || !arithmetic(runtime, Operator::add, total, part, next))
            return false;
        total = next;
    }
    out = total;
    return !runtime.failed();
}

bool batch(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Item p[2];
    if (!bind(runtime, "batch", arguments, {{"linecount", Item()}, {"fill_with", kNone}}, p)) return false;
    std::vector<Item> lines;
    auto fill = [&] {
        int64_t count;
        Cursor cursor;
        Item item, line;
        std::vector<Item> current;
        if (!to_integer(runtime, "batch", p[0], count) || !cursor.open(runtime, value)) return false;
        while (cursor.next(runtime, item)) {
            if (static_cast<int64_t>(current.size()) == count) {
                if (!runtime.list(current, line)) return false;
                lines.push_back(line);
                current.clear();
            }
            current.push_back(item);
        }
        if (runtime.failed()) return false;
        if (current.empty()) return true;
        if (!p[1].is_none() && static_cast<int64_t>(current.size()) < count) {
            if (!runtime.allow_items(static_cast<size_t>(count))) return false;
            current.resize(static_cast<size_t>(count), p[1]);
        }
        if (!runtime.list(current, line)) return false;
        lines.push_back(line);
        return true;
    };
    const bool complete = fill();
    return generator(runtime, lines, complete, out);
}

bool slices(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Item p[2];
    if (!bind(runtime, "slice", arguments, {{"slices", Item()}, {"fill_with", kNone}}, p)) return false;
    std::vector<Item> columns;
    auto fill = [&] {
        int64_t count;
        std::vector<Item> source;
        if (!to_integer(runtime, "slice", p[0], count) || !collect(runtime, value, source)) return false;
        if (count == 0) return runtime.fail("integer division or modulo by zero");
        if (count < 0) return true;
        if (!runtime.allow_items(static_cast<size_t>(count))) return false;
        const size_t n = static_cast<size_t>(count), each = source.size() / n, longer = source.size() % n;
        for (size_t i = 0, begin = 0; i < n; i++) {
            const size_t end = begin + each + (i < longer);
            std::vector<Item> column(source.begin() + static_cast<ptrdiff_t>(begin),
                                     source.begin() + static_cast<ptrdiff_t>(end));
            begin = end;
            if (!p[1].is_none() && i >= longer) column.push_back(p[1]);
            Item item;
            if (!runtime.list(column, item)) return false;
            columns.push_back(item);
        }
        return true;
    };
    const bool complete = fill();
    return generator(runtime, columns, complete, out);
}

bool groupby(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Item p[3];
    std::vector<Item> source;
    if (!bind(runtime, "groupby", arguments, {{"attribute", Item()}, {"default", kNone}, {"case_sensitive", kFalse}},
              p) ||
        !collect(runtime, value, source))
        return false;
    std::vector<Keyed> keyed;
    for (const Item& item : source) {
        Keyed k{.key = {}, .item = item};
        if (!key_of(runtime, item, p[0], truth(p[2]), p[1], k.key)) return false;
        keyed.push_back(k);
    }
    if (!sort_keyed(runtime, keyed, false)) return false;
    std::vector<Item> groups;
    for (size_t begin = 0, end; begin < keyed.size(); begin = end) {
        std::vector<Item> members;
        for (end = begin; end < keyed.size() && equal(runtime, keyed[begin].key, keyed[end].key); end++)
            members.push_back(keyed[end].item);
        if (runtime.failed()) return false;
        end = std::max(end, begin + 1);  // NaN equals nothing
        if (members.empty()) members.push_back(keyed[begin].item);
        Item pair[2], group;
        // The case of the first member.
        if (!get_path(runtime, members[0], p[0], p[1], pair[0]) || !runtime.list(members, pair[1]) ||
            !runtime.tuple(pair, group))
            return false;
        List* named = runtime.make(*group.list);
        named->group = true;
        groups.push_back(Item::tuple(named));
    }
    return runtime.list(groups, out);
}

// map('filter', arguments…), or map(attribute=…, default=…)
bool map(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    std::vector<Item> mapped;
    auto fill = [&] {
        if (!truth(value)) return true;
        Item path, fallback = kNone;
        Function function = nullptr;
        for (const Keyword& keyword : arguments.named)
            if (keyword.name == "attribute") path = keyword.value;
        const bool by_attribute = arguments.positional.empty() && !path.is(Kind::missing);
        if (by_attribute) {
            for (const Keyword& keyword : arguments.named) {
                if (keyword.name == "default")
                    fallback = keyword.value;
                else if (keyword.name != "attribute")
                    return runtime.fail("map() got an unexpected keyword argument '{}'", keyword.name);
            }
        } else {
            if (arguments.positional.empty()) return runtime.fail("map requires a filter argument");
            const Item& name = arguments.positional[0];
            function = name.is_string() ? find_filter(name.view_text()) : nullptr;
        }
        Cursor cursor;
        Item item, result;
        if (!cursor.open(runtime, value)) return false;
        while (cursor.next(runtime, item)) {
            if (by_attribute) {
                if (!get_path(runtime, item, path, fallback, result)) return false;
            } else if (function == nullptr) {
                return runtime.fail("map(): no such filter");
            } else if (!runtime.spend_bytes(item.is_string() ? item.length : 0) ||
                       !function(runtime, item, {arguments.positional.subspan(1), arguments.named}, result)) {
                return false;
            }
            mapped.push_back(result);
        }
        return !runtime.failed();
    };
    const bool complete = fill();
    return generator(runtime, mapped, complete, out);
}

template <bool keep, bool by_attribute>
bool select(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    std::vector<Item> selected;
    auto fill = [&] {
        if (!truth(value)) return true;
        std::span<const Item> rest = arguments.positional;
        Item path = kNone;
        if (by_attribute) {
            if (rest.empty()) return runtime.fail("missing parameter for attribute name");
            path = rest[0];
            rest = rest.subspan(1);
        }
        Function function = nullptr;
        const bool has_test = !rest.empty();
        if (has_test) {
            function = rest[0].is_string() ? find_test(rest[0].view_text()) : nullptr;
            rest = rest.subspan(1);
        }
        Cursor cursor;
        Item item, subject, result;
        if (!cursor.open(runtime, value)) return false;
        while (cursor.next(runtime, item)) {
            if (!get_path(runtime, item, path, kNone, subject)) return false;
            result = subject;
            if (has_test) {
                if (function == nullptr) return runtime.fail("select(): no such test");
                if (!function(runtime, subject, {rest, arguments.named}, result)) return false;
            }
            if (truth(result) == keep) selected.push_back(item);
        }
        return !runtime.failed();
    };
    const bool complete = fill();
    return generator(runtime, selected, complete, out);
}

constexpr FilterRow kFilters[] = {
    {"batch", batch},
    {"dictsort", dictsort},
    {"first", first},
    {"groupby", groupby},
    {"items", items},
    {"join", join},
    {"last", last},
    {"list", list},
    {"map", map},
    {"max", extreme<true>},
    {"min", extreme<false>},
    {"reject", select<false, false>},
    {"rejectattr", select<false, true>},
    {"reverse", reverse},
    {"select", select<true, false>},
    {"selectattr", select<true, true>},
    {"slice", slices},
    {"sort", sort},
    {"sum", sum},
    {"unique", unique},
};

}  // namespace

std::span<const FilterRow> sequence_filters() {
    return kFilters;
}

}  // namespace nibble::text::jinja
