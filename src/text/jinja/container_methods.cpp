// Methods of dict, list, tuple, range, numbers and cycler; type names; truth.
#include "text/jinja/binding.h"
#include "text/jinja/methods.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace nibble::text::jinja {
namespace {

template <View::Part part>
bool view(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    if (!bind_nothing(runtime, "dict method", arguments)) return false;
    out = Item::of(runtime.make(View{part, self.dict}));
    return true;
}

bool get(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    Item p[2];
    uint64_t unused;
    if (!bind(runtime, "get", arguments, {{"", Item()}, {"", Item::none()}}, p) || !hash(runtime, p[0], unused))
        return false;
    const Item* value = find(runtime, *self.dict, p[0]);
    out = value ? *value : p[1];
    return !runtime.failed();
}

bool copy(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    if (!bind_nothing(runtime, "copy", arguments)) return false;
    if (self.is(Kind::dict))
        out = Item::of(runtime.make(*self.dict));
    else
        out = Item::of(runtime.make(*self.list));
    return true;
}

bool count_items(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    Item wanted, item;
    Cursor cursor;
    if (!bind(runtime, "count", arguments, {{"", Item()}}, &wanted) || !cursor.open(runtime, self)) return false;
    int64_t n = 0;
    while (cursor.next(runtime, item)) n += identical(item, wanted) || equal(runtime, item, wanted);
    out = Item::of(n);
    return !runtime.failed();
}

bool index_of(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    Item p[3];
    int64_t start, stop, size;
    if (!bind(runtime, "index", arguments,
              {{"", Item()}, {"", Item::of(int64_t{0})}, {"", Item::of(int64_t{INT64_MAX})}}, p) ||
        !to_integer(runtime, "index", p[1], start) || !to_integer(runtime, "index", p[2], stop) ||
        !length(runtime, self, size))
        return false;
    if (start < 0) start = std::max<int64_t>(0, start + size);
    if (stop < 0) stop = std::max<int64_t>(0, stop + size);
    Cursor cursor;
    Item item;
    if (!cursor.open(runtime, self)) return false;
    for (int64_t i = 0; i < stop && cursor.next(runtime, item); i++) {
        if (i < start || !(identical(item, p[0]) || equal(runtime, item, p[0]))) continue;
        out = Item::of(i);
        return !runtime.failed();
    }
    return runtime.fail("the value is not in the {}", type_name(self));
}

bool bit_length(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    const int64_t i = self.as_integer();
    const uint64_t magnitude = i < 0 ? 0 - static_cast<uint64_t>(i) : static_cast<uint64_t>(i);
    out = Item::of(static_cast<int64_t>(std::bit_width(magnitude)));
    return bind_nothing(runtime, "bit_length", arguments);
}

bool bit_count(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    const int64_t i = self.as_integer();
    out =
        Item::of(static_cast<int64_t>(std::popcount(i < 0 ? 0 - static_cast<uint64_t>(i) : static_cast<uint64_t>(i))));
    return bind_nothing(runtime, "bit_count", arguments);
}

bool conjugate(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    return bind_nothing(runtime, "conjugate", arguments) && positive(runtime, self, out);
}

bool is_integer(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    out = Item::of(std::isfinite(self.real) && self.real == std::floor(self.real));
    return bind_nothing(runtime, "is_integer", arguments);
}

bool cycler_next(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    Cycler& cycler = *self.cycler;
    out = cycler.items[cycler.position];
    cycler.position = (cycler.position + 1) % cycler.items.size();
    return bind_nothing(runtime, "next", arguments);
}

bool cycler_reset(Runtime& runtime, const Item& self, const Arguments& arguments, Item& out) {
    self.cycler->position = 0;
    out = Item::none();
    return bind_nothing(runtime, "reset", arguments);
}

constexpr Method kDict[] = {{"copy", copy},
                            {"fromkeys", dict_from_keys},
                            {"get", get},
                            {"items", view<View::Part::items>},
                            {"keys", view<View::Part::keys>},
                            {"values", view<View::Part::values>}};
constexpr Method kList[] = {{"copy", copy}, {"count", count_items}, {"index", index_of}};
constexpr Method kTuple[] = {{"count", count_items}, {"index", index_of}};
constexpr Method kInteger[] = {{"as_integer_ratio", nullptr}, {"bit_count", bit_count}, {"bit_length", bit_length},
                               {"conjugate", conjugate},      {"from_bytes", nullptr},  {"to_bytes", nullptr}};
constexpr Method kReal[] = {{"as_integer_ratio", nullptr},
                            {"conjugate", conjugate},
                            {"fromhex", nullptr},
                            {"hex", nullptr},
                            {"is_integer", is_integer}};
constexpr Method kView[] = {{"isdisjoint", nullptr}, {"mapping", nullptr}};
constexpr Method kIterator[] = {{"close", nullptr}, {"send", nullptr}, {"throw", nullptr}};
constexpr Method kCycler[] = {{"next", cycler_next}, {"reset", cycler_reset}};

constexpr std::string_view kDictChanges[] = {"clear", "pop", "popitem", "setdefault", "update"};
constexpr std::string_view kListChanges[] = {"append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"};

std::span<const Method> methods_of(Kind kind) {
    switch (kind) {
        case Kind::string:
            return text_methods();
        case Kind::dict:
            return kDict;
        case Kind::list:
            return kList;
        case Kind::tuple:
        case Kind::range:
            return kTuple;
        case Kind::boolean:
        case Kind::integer:
            return kInteger;
        case Kind::real:
            return kReal;
        case Kind::view:
            return kView;
        case Kind::iterator:
            return kIterator;
        case Kind::cycler:
            return kCycler;
        default:
            return {};
    }
}

}  // namespace

const Method* find_method(Kind kind, std::string_view name) {
    for (const Method& method : methods_of(kind))
        if (method.name == name) return &method;
    return nullptr;
}

bool changes_its_object(Kind kind, std::string_view name) {
    std::span<const std::string_view> names;
    if (kind == Kind::dict) names = kDictChanges;
    if (kind == Kind::list) names = kListChanges;
    return std::find(names.begin(), names.end(), name) != names.end();
}

std::string_view type_name(const Item& item) {
    switch (item.kind) {
        case Kind::missing:
        case Kind::undefined:
            return "Undefined";
        case Kind::none:
            return "NoneType";
        case Kind::boolean:
            return "bool";
        case Kind::integer:
            return "int";
        case Kind::real:
            return "float";
        case Kind::string:
            return "str";
        case Kind::list:
            return "list";
        case Kind::tuple:
            return "tuple";
        case Kind::dict:
            return "dict";
        case Kind::range:
            return "range";
        case Kind::view:
            return "dict view";
        case Kind::iterator:
            return "generator";
        case Kind::name_space:
            return "namespace";
        case Kind::macro:
            return "macro";
        case Kind::callable:
            return "function";
        case Kind::loop:
            return "loop";
        case Kind::cycler:
            return "cycler";
        case Kind::joiner:
            return "joiner";
    }
    return "object";
}

bool truth(const Item& item) {
    switch (item.kind) {
        case Kind::missing:
        case Kind::undefined:
        case Kind::none:
            return false;
        case Kind::boolean:
            return item.boolean;
        case Kind::integer:
            return item.integer != 0;
        case Kind::real:
            return item.real != 0;
        case Kind::string:
            return item.length != 0;
        case Kind::list:
        case Kind::tuple:
            return item.list->size != 0;
        case Kind::dict:
            return item.dict->size != 0;
        case Kind::range:
            return item.range->size() != 0;
        case Kind::view:
            return item.view->dict->size != 0;
        default:
            return true;
    }
}

}  // namespace nibble::text::jinja
