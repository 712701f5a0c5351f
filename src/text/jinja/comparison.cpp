// ==, <, in, is and hash() of Python, on Items.
#include "text/jinja/loop.h"
#include "text/jinja/operations.h"
#include "text/jinja/python_text.h"
#include "text/keyed_hash.h"

#include <cmath>
#include <cstring>

namespace nibble::text::jinja {
namespace {

// Compares an integer with a double exactly: -1, 0, 1; 2 when the double is NaN.
int compare_exact(int64_t i, double d) {
    if (std::isnan(d)) return 2;
    if (d >= 9223372036854775808.0) return -1;
    if (d < -9223372036854775808.0) return 1;
    const double whole = std::floor(d);
    const int64_t w = static_cast<int64_t>(whole);
    if (i != w) return i < w ? -1 : 1;
    return d > whole ? -1 : 0;
}

int compare_numbers(const Item& a, const Item& b) {
    if (a.kind == Kind::real && b.kind == Kind::real) {
        if (std::isnan(a.real) || std::isnan(b.real)) return 2;
        return a.real < b.real ? -1 : a.real > b.real;
    }
    if (a.kind == Kind::real) {
        const int c = compare_exact(b.as_integer(), a.real);
        return c == 2 ? 2 : -c;
    }
    if (b.kind == Kind::real) return compare_exact(a.as_integer(), b.real);
    return a.as_integer() < b.as_integer() ? -1 : a.as_integer() > b.as_integer();
}

bool equal_ranges(const Range& a, const Range& b) {
    if (a.size() != b.size()) return false;
    return a.size() == 0 || (a.start == b.start && (a.size() == 1 || a.step == b.step));
}

bool equal_dicts(Runtime& runtime, const Dict& a, const Dict& b) {
    if (a.size != b.size) return false;
    for (const Entry& entry : a.span()) {
        const Item* other = find(runtime, b, entry.key);
        if (other == nullptr || !equal(runtime, entry.value, *other)) return false;
    }
    return true;
}

bool ordered(Runtime& runtime, Operator op, const Item& left, const Item& right, bool& out);

// Lists and tuples compare by the first elements that differ.
bool ordered_lists(Runtime& runtime, Operator op, const List& a, const List& b, bool& out) {
    const uint32_t common = std::min(a.size, b.size);
    for (uint32_t i = 0; i < common; i++) {
        if (equal(runtime, a.items[i], b.items[i])) continue;
        return ordered(runtime, op, a.items[i], b.items[i], out);
    }
    switch (op) {
        case Operator::less:
            out = a.size < b.size;
            break;
        case Operator::less_equal:
            out = a.size <= b.size;
            break;
        case Operator::greater:
            out = a.size > b.size;
            break;
        default:
            out = a.size >= b.size;
            break;
    }
    return !runtime.failed();
}

bool ordered(Runtime& runtime, Operator op, const Item& left, const Item& right, bool& out) {
    if (!runtime.spend(1)) return false;
    if (left.is_undefined()) return runtime.fail_undefined(left);
    if (right.is_undefined()) return runtime.fail_undefined(right);
    if ((left.is(Kind::list) && right.is(Kind::list)) || (left.is(Kind::tuple) && right.is(Kind::tuple)))
        return ordered_lists(runtime, op, *left.list, *right.list, out);
    int c = 0;
    if (left.is_number() && right.is_number()) {
        c = compare_numbers(left, right);
        if (c == 2) {
            out = false;
            return true;
        }
    } else if (left.is_string() && right.is_string()) {
        if (!runtime.spend_bytes(std::min(left.length, right.length))) return false;
        // The order of UTF-8 bytes is that of code points.
        c = left.view_text().compare(right.view_text());
    } else {
        const char* sign = op == Operator::less         ? "<"
                           : op == Operator::less_equal ? "<="
                           : op == Operator::greater    ? ">"
                                                        : ">=";
        return runtime.fail("'{}' not supported between '{}' and '{}'", sign, type_name(left), type_name(right));
    }
    switch (op) {
        case Operator::less:
            out = c < 0;
            break;
        case Operator::less_equal:
            out = c <= 0;
            break;
        case Operator::greater:
            out = c > 0;
            break;
        default:
            out = c >= 0;
            break;
    }
    return true;
}

}  // namespace

bool equal(Runtime& runtime, const Item& a, const Item& b) {
    if (!runtime.spend(1)) return false;
    if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
    if (a.kind != b.kind) return false;
    switch (a.kind) {
        case Kind::missing:
        case Kind::undefined:
        case Kind::none:
            return true;
        case Kind::string:
            return a.length == b.length && runtime.spend_bytes(a.length) && a.view_text() == b.view_text();
        case Kind::list:
        case Kind::tuple:
            if (a.list == b.list) return true;
            if (a.list->size != b.list->size) return false;
            for (uint32_t i = 0; i < a.list->size; i++)
                if (!identical(a.list->items[i], b.list->items[i]) &&
                    !equal(runtime, a.list->items[i], b.list->items[i]))
                    return false;
            return true;
        case Kind::dict:
            return a.dict == b.dict || equal_dicts(runtime, *a.dict, *b.dict);
        case Kind::range:
            return equal_ranges(*a.range, *b.range);
        case Kind::view:
            return a.view == b.view || (a.view->part == b.view->part && a.view->part != View::Part::values &&
                                        equal_dicts(runtime, *a.view->dict, *b.view->dict));
        default:
            return identical(a, b);
    }
}

bool identical(const Item& a, const Item& b) {
    if (a.kind != b.kind) return false;
    switch (a.kind) {
        case Kind::missing:
        case Kind::none:
            return true;
        case Kind::boolean:
            return a.boolean == b.boolean;
        case Kind::integer:
            return a.integer == b.integer;
        case Kind::real:
            return std::memcmp(&a.real, &b.real, sizeof a.real) == 0;
        case Kind::undefined:
            return a.text == b.text && a.length == b.length;
        case Kind::string:
            return a.view_text() == b.view_text();
        case Kind::list:
        case Kind::tuple:
            return a.list == b.list;
        default:
            return a.text == b.text;  // any other member is a pointer to its cell
    }
}

bool compare(Runtime& runtime, Operator op, const Item& left, const Item& right, bool& out) {
    switch (op) {
        case Operator::equal:
            out = equal(runtime, left, right);
            return !runtime.failed();
        case Operator::not_equal:
            out = !equal(runtime, left, right);
            return !runtime.failed();
        case Operator::in:
            return contains(runtime, right, left, out);
        case Operator::not_in:
            if (!contains(runtime, right, left, out)) return false;
            out = !out;
            return true;
        default:
            return ordered(runtime, op, left, right, out);
    }
}

bool contains(Runtime& runtime, const Item& container, const Item& value, bool& out) {
    switch (container.kind) {
        case Kind::string:
            if (!value.is_string())
                return runtime.fail("'in <string>' requires a string on the left, not {}", type_name(value));
            if (!runtime.spend_bytes(container.length)) return false;
            out = find_first(container.view_text(), value.view_text()) != std::string_view::npos;
            return true;
        case Kind::dict: {
            uint64_t unused;
            if (!hash(runtime, value, unused)) return false;
            out = find(runtime, *container.dict, value) != nullptr;
            return !runtime.failed();
        }
        case Kind::view:
            if (container.view->part == View::Part::keys)
                return contains(runtime, Item::of(container.view->dict), value, out);
            break;
        default:
            break;
    }
    Cursor cursor;
    if (!cursor.open(runtime, container)) return false;
    out = false;
    Item item;
    while (!out && cursor.next(runtime, item)) out = identical(item, value) || equal(runtime, item, value);
    return !runtime.failed();
}

bool hash(Runtime& runtime, const Item& item, uint64_t& out) {
    if (!runtime.spend(1)) return false;
    auto mix = [](uint64_t tag, uint64_t word) {
        const uint64_t words[2] = {tag, word};
        return keyed_hash({reinterpret_cast<const char*>(words), sizeof words});
    };
    switch (item.kind) {
        case Kind::undefined:
            out = mix(1, 0);
            return true;
        case Kind::none:
            out = mix(2, 0);
            return true;
        case Kind::boolean:
        case Kind::integer:
            out = mix(3, static_cast<uint64_t>(item.as_integer()));
            return true;
        case Kind::real: {
            // Equal numbers hash alike whatever their type.
            const double d = item.real;
            if (d >= -9223372036854775808.0 && d < 9223372036854775808.0 && d == std::floor(d)) {
                out = mix(3, static_cast<uint64_t>(static_cast<int64_t>(d)));
            } else {
                uint64_t bits;
                std::memcpy(&bits, &d, sizeof bits);
                out = mix(4, bits);
            }
            return true;
        }
        case Kind::string:
            if (!runtime.spend_bytes(item.length)) return false;
            out = keyed_hash(item.view_text());
            return true;
        case Kind::tuple:
            out = mix(5, item.list->size);
            for (const Item& element : item.list->span()) {
                uint64_t h;
                if (!hash(runtime, element, h)) return false;
                out = mix(out, h);
            }
            return true;
        case Kind::range: {
            const Range& r = *item.range;
            const int64_t n = r.size();
            out = mix(mix(6, static_cast<uint64_t>(n)),
                      mix(n > 0 ? static_cast<uint64_t>(r.start) : 0, n > 1 ? static_cast<uint64_t>(r.step) : 0));
            return true;
        }
        case Kind::list:
        case Kind::dict:
        case Kind::view:
            return runtime.fail("unhashable type: '{}'", type_name(item));
        default:
            out = mix(7, reinterpret_cast<uintptr_t>(item.text));
            return true;
    }
}

}  // namespace nibble::text::jinja
