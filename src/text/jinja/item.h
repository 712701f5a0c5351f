// Item: a value while a template runs, and the cells that hold what does not fit into one.
//
// Sixteen bytes, copied freely, never destroyed: cells and text live in the Arena of the Runtime (or in the parsed
// template, or in the caller's Value) and go together when the render ends. So cycles need no collector, and nothing
// recurses on destruction. Lists, tuples and dicts are immutable once made, as HF's sandbox demands.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace nibble::text::jinja {

struct List;
struct Dict;
struct Range;
struct View;
struct Iterator;
struct Namespace;
struct Macro;
struct Callable;
struct Loop;
struct Cycler;
struct Joiner;

enum class Kind : uint8_t {
    missing,  // a variable that holds nothing yet; never the result of an expression
    undefined,
    none,
    boolean,
    integer,
    real,
    string,
    list,
    tuple,
    dict,
    range,
    view,      // dict.keys(), .values(), .items()
    iterator,  // what map, select, … return: read once
    name_space,
    macro,
    callable,  // a global function or a bound method
    loop,
    cycler,
    joiner,
};

// Why an undefined is undefined; chooses the words of the error when it is used.
enum class Absence : uint8_t { name, attribute, hint };

struct Item {
    Kind kind = Kind::missing;
    bool markup = false;              // string: markupsafe.Markup, which escapes what is added to it
    Absence absence = Absence::name;  // undefined: `text` is a name, an attribute of an `owner`, or the whole hint
    Kind owner = Kind::missing;
    uint32_t length = 0;  // string, undefined: bytes of text
    union {
        bool boolean;
        int64_t integer;
        double real;
        const char* text = nullptr;
        const List* list;  // list and tuple
        const Dict* dict;
        const Range* range;
        const View* view;
        Iterator* iterator;
        Namespace* name_space;
        const Macro* macro;
        const Callable* callable;
        Loop* loop;
        Cycler* cycler;
        Joiner* joiner;
    };

    static Item none() { return tagged(Kind::none); }
    static Item of(bool b) {
        Item item = tagged(Kind::boolean);
        item.boolean = b;
        return item;
    }
    static Item of(int64_t i) {
        Item item = tagged(Kind::integer);
        item.integer = i;
        return item;
    }
    static Item of(double d) {
        Item item = tagged(Kind::real);
        item.real = d;
        return item;
    }
    // The text is not copied: it must live as long as the render.
    static Item of(std::string_view s, bool markup = false) {
        Item item = tagged(Kind::string);
        item.markup = markup;
        item.length = static_cast<uint32_t>(s.size());
        item.text = s.data();
        return item;
    }
    static Item of(const char*) = delete;  // would become a bool
    static Item undefined(Absence absence, std::string_view text, Kind owner = Kind::missing) {
        Item item = of(text);
        item.kind = Kind::undefined;
        item.absence = absence;
        item.owner = owner;
        return item;
    }
    static Item of(const List* list) { return cell(Kind::list, &Item::list, list); }
    static Item tuple(const List* list) { return cell(Kind::tuple, &Item::list, list); }
    static Item of(const Dict* dict) { return cell(Kind::dict, &Item::dict, dict); }
    static Item of(const Range* range) { return cell(Kind::range, &Item::range, range); }
    static Item of(const View* view) { return cell(Kind::view, &Item::view, view); }
    static Item of(Iterator* iterator) { return cell(Kind::iterator, &Item::iterator, iterator); }
    static Item of(Namespace* space) { return cell(Kind::name_space, &Item::name_space, space); }
    static Item of(const Macro* macro) { return cell(Kind::macro, &Item::macro, macro); }
    static Item of(const Callable* callable) { return cell(Kind::callable, &Item::callable, callable); }
    static Item of(Loop* loop) { return cell(Kind::loop, &Item::loop, loop); }
    static Item of(Cycler* cycler) { return cell(Kind::cycler, &Item::cycler, cycler); }
    static Item of(Joiner* joiner) { return cell(Kind::joiner, &Item::joiner, joiner); }

    bool is(Kind k) const { return kind == k; }
    bool is_undefined() const { return kind == Kind::undefined; }
    bool is_none() const { return kind == Kind::none; }
    bool is_string() const { return kind == Kind::string; }
    bool is_list() const { return kind == Kind::list; }
    bool is_integer() const { return kind == Kind::integer || kind == Kind::boolean; }  // Python's bool is an int
    bool is_number() const { return is_integer() || kind == Kind::real; }

    std::string_view view_text() const { return {text, length}; }
    int64_t as_integer() const { return kind == Kind::boolean ? boolean : integer; }
    double as_real() const { return kind == Kind::real ? real : static_cast<double>(as_integer()); }

private:
    static Item tagged(Kind kind) {
        Item item;
        item.kind = kind;
        return item;
    }
    template <class T>
    static Item cell(Kind kind, T Item::*member, T value) {
        Item item = tagged(kind);
        item.*member = value;
        return item;
    }
};
static_assert(sizeof(Item) == 16);

// A list or a tuple. `depth` counts containers inside containers, so that walks over them can be refused beforehand.
struct List {
    const Item* items = nullptr;
    uint32_t size = 0;
    uint16_t depth = 1;
    bool group = false;  // a tuple of groupby: .grouper and .list

    std::span<const Item> span() const { return {items, size}; }
};

struct Entry {
    Item key, value;
};

// Keys in insertion order; `slots` is an open-addressed index of 1 + position, absent while the dict is small.
struct Dict {
    const Entry* entries = nullptr;
    uint32_t size = 0;
    uint32_t slot_mask = 0;
    const uint32_t* slots = nullptr;
    uint16_t depth = 1;

    std::span<const Entry> span() const { return {entries, size}; }
};

struct Range {
    int64_t start, stop, step;
    int64_t size() const;
    int64_t at(int64_t i) const;
};

struct View {
    enum class Part : uint8_t { keys, values, items } part;
    const Dict* dict;
};

// Python computes these lazily. Computing them at once differs only in when an error shows, so the error is kept and
// raised when the reader gets there.
struct Iterator {
    std::span<const Item> items;
    size_t position = 0;
    std::string_view failure;  // raised behind the last item; empty when none
    const char* type = "generator";
};

struct Namespace {
    Entry* entries = nullptr;  // keys are strings, or what namespace(dict) brought
    uint32_t size = 0, capacity = 0;
};

struct Cycler {
    std::span<const Item> items;
    size_t position = 0;
};

struct Joiner {
    Item separator;
    bool used = false;
};

// A macro, or the body of a call block (which has no name), bound to the variables around it.
struct Macro {
    std::string_view name;
    const struct MacroDefinition* definition;
    struct Activation* outer;
};

struct Keyword {
    std::string_view name;
    Item value;
};

struct Arguments {
    std::span<const Item> positional;
    std::span<const Keyword> named;
};

class Runtime;
using Function = bool (*)(Runtime&, const Item& subject, const Arguments&, Item& out);

struct Callable {
    std::string_view name;
    Function function;
    Item subject;  // bound method: the object
};

}  // namespace nibble::text::jinja
