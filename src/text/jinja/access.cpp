// Attributes, items, slices, lengths and iteration, as the sandboxed environment of jinja2 grants them.
#include "text/jinja/loop.h"
#include "text/jinja/methods.h"
#include "text/jinja/operations.h"
#include "text/jinja/unicode.h"

#include <algorithm>
#include <charconv>

namespace nibble::text::jinja {
namespace {

bool is_hashable(const Item& item) {
    if (item.is(Kind::tuple)) return std::all_of(item.list->span().begin(), item.list->span().end(), is_hashable);
    return !item.is_list() && !item.is(Kind::dict) && !item.is(Kind::view);
}

// object[key] as Python has it. `found` is false where that raises TypeError, KeyError or IndexError.
bool python_item(Runtime& runtime, const Item& object, const Item& key, Item& out, bool& found) {
    found = false;
    int64_t index = 0;
    if (key.is_integer()) index = key.as_integer();
    auto within = [&](int64_t size) {
        if (!key.is_integer()) return false;
        if (index < 0) index += size;
        return index >= 0 && index < size;
    };
    switch (object.kind) {
        case Kind::undefined:
            return runtime.fail_undefined(object);
        case Kind::dict:
            if (!is_hashable(key)) return true;
            if (const Item* value = find(runtime, *object.dict, key)) {
                out = *value;
                found = true;
            }
            return !runtime.failed();
        case Kind::list:
        case Kind::tuple:
            if (within(object.list->size)) {
                out = object.list->items[index];
                found = true;
            }
            return true;
        case Kind::range:
            if (within(object.range->size())) {
                out = Item::of(object.range->at(index));
                found = true;
            }
            return true;
        case Kind::string: {
            if (!key.is_integer()) return true;
            const std::string_view s = object.view_text();
            if (!runtime.spend_bytes(s.size())) return false;
            if (!within(static_cast<int64_t>(code_points(s)))) return true;
            const size_t begin = byte_offset(s, static_cast<size_t>(index));
            size_t end = begin;
            next_code_point(s, end);
            out = Item::of(s.substr(begin, end - begin), object.markup);
            found = true;
            return true;
        }
        default:
            return true;
    }
}

Item absent(Runtime& runtime, const Item& object, const Item& key) {
    if (key.is_string()) return Item::undefined(Absence::attribute, key.view_text(), object.kind);
    std::string hint(type_name(object));
    hint += " object has no element ";
    append_repr(runtime, hint, key);
    return Item::undefined(Absence::hint, runtime.arena().copy(hint));
}

// The bounds of a slice as Python adjusts them, and how many elements it takes.
struct Bounds {
    int64_t start, stop, step, size;
};

bool bounds(Runtime& runtime, const Item& start, const Item& stop, const Item& step, int64_t length, Bounds& out) {
    for (const Item* item : {&start, &stop, &step})
        if (!item->is_none() && !item->is_integer())
            return runtime.fail("slice indices must be integers or None, not {}", type_name(*item));
    out.step = step.is_none() ? 1 : step.as_integer();
    if (out.step == 0) return runtime.fail("slice step cannot be zero");
    if (out.step == INT64_MIN) out.step = -INT64_MAX;
    const bool down = out.step < 0;
    auto place = [&](const Item& item, int64_t when_none) {
        if (item.is_none()) return when_none;
        int64_t i = item.as_integer();
        if (i < 0) {
            i += length;
            if (i < 0) i = down ? -1 : 0;
        } else if (i >= length) {
            i = down ? length - 1 : length;
        }
        return i;
    };
    out.start = place(start, down ? length - 1 : 0);
    out.stop = place(stop, down ? -1 : length);
    out.size = 0;
    if (!down && out.start < out.stop) out.size = (out.stop - out.start - 1) / out.step + 1;
    if (down && out.stop < out.start) out.size = (out.start - out.stop - 1) / -out.step + 1;
    return true;
}

bool slice_text(Runtime& runtime, const Item& object, const Item& start, const Item& stop, const Item& step,
                Item& out) {
    const std::string_view s = object.view_text();
    if (!runtime.spend_bytes(s.size())) return false;
    const bool ascii = is_ascii(s);
    Bounds b;
    if (!bounds(runtime, start, stop, step, static_cast<int64_t>(ascii ? s.size() : code_points(s)), b)) return false;
    if (b.size == 0) {
        out = Item::of(std::string_view(), object.markup);
        return true;
    }
    if (b.step == 1) {
        const size_t begin = ascii ? static_cast<size_t>(b.start) : byte_offset(s, static_cast<size_t>(b.start));
        std::string_view rest = s.substr(begin);
        const size_t end = ascii ? static_cast<size_t>(b.size) : byte_offset(rest, static_cast<size_t>(b.size));
        out = Item::of(rest.substr(0, end), object.markup);
        return true;
    }
    std::vector<uint32_t> offsets;
    for (size_t at = 0; at < s.size(); next_code_point(s, at)) offsets.push_back(static_cast<uint32_t>(at));
    offsets.push_back(static_cast<uint32_t>(s.size()));
    std::string text;
    for (int64_t i = 0; i < b.size; i++) {
        const size_t n = static_cast<size_t>(b.start + i * b.step);
        text += s.substr(offsets[n], offsets[n + 1] - offsets[n]);
    }
    out = runtime.text(text, object.markup);
    return true;
}

}  // namespace

bool get_attribute_only(Runtime& runtime, const Item& object, std::string_view name, Item& out, bool& found) {
    found = true;
    switch (object.kind) {
        case Kind::loop:
            if (!loop_attribute(runtime, *object.loop, name, out, found)) return false;
            if (found) return true;
            break;
        case Kind::name_space:
            if (const Item* value = find(*object.name_space, name)) {
                out = *value;
                return true;
            }
            break;
        case Kind::tuple:
            if (object.list->group && (name == "grouper" || name == "list")) {
                out = object.list->items[name == "list"];
                return true;
            }
            break;
        case Kind::range:
            if (name == "start" || name == "stop" || name == "step") {
                const Range& r = *object.range;
                out = Item::of(name == "start" ? r.start : name == "stop" ? r.stop : r.step);
                return true;
            }
            break;
        case Kind::boolean:
        case Kind::integer:
            if (name == "real" || name == "numerator" || name == "imag" || name == "denominator") {
                out = Item::of(name == "imag" ? 0 : name == "denominator" ? 1 : object.as_integer());
                return true;
            }
            break;
        case Kind::real:
            if (name == "real" || name == "imag") {
                out = Item::of(name == "imag" ? 0.0 : object.real);
                return true;
            }
            break;
        case Kind::cycler:
            if (name == "current") {
                out = object.cycler->items[object.cycler->position];
                return true;
            }
            break;
        case Kind::joiner:
            if (name == "sep" || name == "used") {
                out = name == "sep" ? object.joiner->separator : Item::of(object.joiner->used);
                return true;
            }
            break;
        case Kind::callable:
            if (object.callable == find_global("dict")->callable && name == "fromkeys") {
                out = Item::of(runtime.make(Callable{"fromkeys", dict_from_keys, object}));
                return true;
            }
            break;
        default:
            break;
    }
    if (const Method* method = find_method(object.kind, name)) {
        out = Item::of(runtime.make(Callable{method->name, method->function, object}));
        return true;
    }
    if (changes_its_object(object.kind, name)) {
        out = Item::undefined(Absence::hint, "the sandbox allows no change of lists and dicts", object.kind);
        return true;
    }
    found = false;
    return true;
}

int64_t Range::size() const {
    // In unsigned arithmetic: the distance of two 64-bit integers can be over INT64_MAX.
    const uint64_t from = static_cast<uint64_t>(start), to = static_cast<uint64_t>(stop),
                   by = static_cast<uint64_t>(step);
    uint64_t n = 0;
    if (step > 0 && start < stop) n = (to - from - 1) / by + 1;
    if (step < 0 && stop < start) n = (from - to - 1) / (0 - by) + 1;
    return static_cast<int64_t>(std::min<uint64_t>(n, INT64_MAX));
}

int64_t Range::at(int64_t i) const {
    return static_cast<int64_t>(static_cast<uint64_t>(start) + static_cast<uint64_t>(i) * static_cast<uint64_t>(step));
}

bool get_attribute(Runtime& runtime, const Item& object, std::string_view name, Item& out) {
    if (object.is_undefined()) return runtime.fail_undefined(object);
    bool found;
    if (!get_attribute_only(runtime, object, name, out, found)) return false;
    if (found) return true;
    if (object.is(Kind::dict)) {
        if (const Item* value = find(*object.dict, name)) {
            out = *value;
            return true;
        }
    }
    out = Item::undefined(Absence::attribute, name, object.kind);
    return true;
}

bool get_item(Runtime& runtime, const Item& object, const Item& key, Item& out) {
    bool found;
    if (!python_item(runtime, object, key, out, found)) return false;
    if (found) return true;
    if (key.is_string()) {
        if (!get_attribute_only(runtime, object, key.view_text(), out, found)) return false;
        if (found) return true;
    }
    out = absent(runtime, object, key);
    return !runtime.failed();
}

bool slice(Runtime& runtime, const Item& object, const Item& start, const Item& stop, const Item& step, Item& out) {
    switch (object.kind) {
        case Kind::undefined:
            return runtime.fail_undefined(object);
        case Kind::string:
            return slice_text(runtime, object, start, stop, step, out);
        case Kind::list:
        case Kind::tuple: {
            Bounds b;
            if (!bounds(runtime, start, stop, step, object.list->size, b)) return false;
            std::vector<Item> items;
            items.reserve(static_cast<size_t>(b.size));
            for (int64_t i = 0; i < b.size; i++) items.push_back(object.list->items[b.start + i * b.step]);
            return object.is_list() ? runtime.list(items, out) : runtime.tuple(items, out);
        }
        case Kind::range: {
            Bounds b;
            const Range& r = *object.range;
            if (!bounds(runtime, start, stop, step, r.size(), b)) return false;
            int64_t by;
            if (__builtin_mul_overflow(b.step, r.step, &by)) return runtime.fail("a step does not fit into 64 bits");
            out = Item::of(runtime.make(Range{r.at(b.start), r.at(b.stop), by}));
            return true;
        }
        default:
            return runtime.fail("'{}' object cannot be sliced", type_name(object));
    }
}

bool length(Runtime& runtime, const Item& item, int64_t& out) {
    switch (item.kind) {
        case Kind::undefined:
            out = 0;
            return true;
        case Kind::string:
            out = static_cast<int64_t>(code_points(item.view_text()));
            return runtime.spend_bytes(item.length);
        case Kind::list:
        case Kind::tuple:
            out = item.list->size;
            return true;
        case Kind::dict:
            out = item.dict->size;
            return true;
        case Kind::range:
            out = item.range->size();
            return true;
        case Kind::view:
            out = item.view->dict->size;
            return true;
        case Kind::loop:
            return loop_length(runtime, *item.loop, out);
        default:
            return runtime.fail("object of type '{}' has no len()", type_name(item));
    }
}

bool is_iterable(const Item& item) {
    switch (item.kind) {
        case Kind::undefined:
        case Kind::string:
        case Kind::list:
        case Kind::tuple:
        case Kind::dict:
        case Kind::range:
        case Kind::view:
        case Kind::iterator:
        case Kind::loop:
            return true;
        default:
            return false;
    }
}

bool is_callable(const Item& item) {
    switch (item.kind) {
        case Kind::undefined:
        case Kind::macro:
        case Kind::callable:
        case Kind::loop:
        case Kind::joiner:
            return true;
        default:
            return false;
    }
}

bool get_path(Runtime& runtime, const Item& object, const Item& path, const Item& fallback, Item& out) {
    out = object;
    auto step = [&](const Item& part) {
        Item next;
        if (!get_item(runtime, out, part, next)) return false;
        out = next.is_undefined() && !fallback.is_none() ? fallback : next;
        return true;
    };
    if (path.is_none()) return true;
    if (!path.is_string()) return step(path);
    std::string_view rest = path.view_text();
    for (;;) {
        const size_t dot = rest.find('.');
        const std::string_view part = rest.substr(0, dot);
        int64_t index = 0;
        const auto [end, ec] = std::from_chars(part.data(), part.data() + part.size(), index);
        const bool number =
            !part.empty() && part.front() != '-' && ec == std::errc() && end == part.data() + part.size();
        if (!step(number ? Item::of(index) : Item::of(part))) return false;
        if (dot == std::string_view::npos) return true;
        rest.remove_prefix(dot + 1);
    }
}

bool Cursor::open(Runtime& runtime, const Item& source) {
    if (!is_iterable(source) || source.is(Kind::loop))
        return runtime.fail("'{}' object is not iterable", type_name(source));
    source_ = source;
    position_ = 0;
    return true;
}

bool Cursor::next(Runtime& runtime, Item& out) {
    if (!runtime.spend(1)) return false;
    switch (source_.kind) {
        case Kind::string: {
            const std::string_view s = source_.view_text();
            if (position_ >= s.size()) return false;
            const size_t begin = position_;
            next_code_point(s, position_);
            out = Item::of(s.substr(begin, position_ - begin));
            return true;
        }
        case Kind::list:
        case Kind::tuple:
            if (position_ >= source_.list->size) return false;
            out = source_.list->items[position_++];
            return true;
        case Kind::dict:
            if (position_ >= source_.dict->size) return false;
            out = source_.dict->entries[position_++].key;
            return true;
        case Kind::range:
            if (static_cast<int64_t>(position_) >= source_.range->size()) return false;
            out = Item::of(source_.range->at(static_cast<int64_t>(position_++)));
            return true;
        case Kind::view: {
            if (position_ >= source_.view->dict->size) return false;
            const Entry& entry = source_.view->dict->entries[position_++];
            if (source_.view->part == View::Part::items) {
                const Item pair[2] = {entry.key, entry.value};
                return runtime.tuple(pair, out);
            }
            out = source_.view->part == View::Part::keys ? entry.key : entry.value;
            return true;
        }
        case Kind::iterator: {
            Iterator& iterator = *source_.iterator;
            if (iterator.position < iterator.items.size()) {
                out = iterator.items[iterator.position++];
                return true;
            }
            if (!iterator.failure.empty()) runtime.fail("{}", iterator.failure);
            return false;
        }
        default:
            return false;
    }
}

bool collect(Runtime& runtime, const Item& source, std::vector<Item>& out) {
    Cursor cursor;
    if (!cursor.open(runtime, source)) return false;
    Item item;
    while (cursor.next(runtime, item)) {
        out.push_back(item);
        if (out.size() > kMaxItems) return runtime.allow_items(out.size());
    }
    return !runtime.failed();
}

}  // namespace nibble::text::jinja
