// What Python's operators and built-in functions do, on Items.
//
// Functions with a Runtime may fail (runtime.h); walks over containers spend a step an element, so that a list which
// holds itself a million times over cannot stall a render.
#pragma once

#include "text/jinja/runtime.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace nibble::text::jinja {

enum class Operator : uint8_t {
    add,
    subtract,
    multiply,
    divide,
    floor_divide,
    modulo,
    power,
    equal,
    not_equal,
    less,
    less_equal,
    greater,
    greater_equal,
    in,
    not_in,
};

std::string_view type_name(const Item& item);  // type(item).__name__
bool truth(const Item& item);

// arithmetic.cpp. Integers are 64 bits wide: a result beyond that fails (Python's grow).
bool arithmetic(Runtime& runtime, Operator op, const Item& left, const Item& right, Item& out);
bool negate(Runtime& runtime, const Item& item, Item& out);
bool positive(Runtime& runtime, const Item& item, Item& out);
// Python's pow, floor division and modulo of doubles; the divisor is not zero.
double floor_divide(double a, double b);
double modulo(double a, double b);

// comparison.cpp
bool equal(Runtime& runtime, const Item& a, const Item& b);
bool identical(const Item& a, const Item& b);  // `is`
bool compare(Runtime& runtime, Operator op, const Item& left, const Item& right, bool& out);
bool contains(Runtime& runtime, const Item& container, const Item& value, bool& out);
bool hash(Runtime& runtime, const Item& item, uint64_t& out);  // fails on what is unhashable

// writing.cpp
bool append_text(Runtime& runtime, std::string& out, const Item& item);   // str(item)
bool append_repr(Runtime& runtime, std::string& out, const Item& item);   // repr(item)
void append_quoted(std::string& out, std::string_view s);                 // repr of a str
bool to_text(Runtime& runtime, const Item& item, std::string_view& out);  // str(item), not copied when it is one
// markupsafe.soft_str: a string stays what it is, Markup included.
bool to_soft_text(Runtime& runtime, const Item& item, Item& out);
std::string escape_html(std::string_view s);
// markupsafe.escape: Markup stays, anything else is made text and escaped.
bool escape(Runtime& runtime, const Item& item, Item& out);
// str.replace within the limits.
bool replace_text(Runtime& runtime, std::string_view s, std::string_view from, std::string_view to, int64_t limit,
                  bool markup, Item& out);
struct JsonStyle {
    bool ensure_ascii = false;
    bool indented = false;
    std::string indent;
    std::string item_separator = ", ";
    std::string key_separator = ": ";
    bool sort_keys = false;
};
bool append_json(Runtime& runtime, std::string& out, const Item& item, const JsonStyle& style);

// access.cpp: environment.getattr and environment.getitem of the sandbox; what is absent or unsafe is undefined.
bool get_attribute(Runtime& runtime, const Item& object, std::string_view name, Item& out);
bool get_item(Runtime& runtime, const Item& object, const Item& key, Item& out);
// getattr alone, without the fall back to object[name]. `found` is false when there is no such attribute; one that the
// sandbox refuses is found, and undefined.
bool get_attribute_only(Runtime& runtime, const Item& object, std::string_view name, Item& out, bool& found);
bool slice(Runtime& runtime, const Item& object, const Item& start, const Item& stop, const Item& step, Item& out);
// len(item): fails when there is none.
bool length(Runtime& runtime, const Item& item, int64_t& out);
bool is_iterable(const Item& item);
bool is_callable(const Item& item);

// An attribute as filters name it: "a.b.0", an integer, or none for the item itself.
bool get_path(Runtime& runtime, const Item& object, const Item& path, const Item& fallback, Item& out);

// for x in source. `next` gives false at the end and when something failed.
class Cursor {
public:
    bool open(Runtime& runtime, const Item& source);  // fails when the source cannot be iterated
    bool next(Runtime& runtime, Item& out);

private:
    Item source_;
    size_t position_ = 0;
};
bool collect(Runtime& runtime, const Item& source, std::vector<Item>& out);  // list(source)

// format_percent.cpp: "…%s…" % values, and format_braces.cpp: "…{}…".format(…). Python's errors are errors here.
bool format_percent(Runtime& runtime, const Item& format, const Item& values, Item& out);
bool format_braces(Runtime& runtime, const Item& format, const Arguments& arguments, Item& out);
bool format_mapping(Runtime& runtime, const Item& format, const Item& mapping, Item& out);

// filters*.cpp, is_tests.cpp, globals.cpp
Function find_filter(std::string_view name);  // null when there is none
Function find_test(std::string_view name);
const Item* find_global(std::string_view name);
// text_methods.cpp, container_methods.cpp: a method of this type of object, null when there is none. One that exists in
// Python but not here has no function.
struct Method {
    std::string_view name;
    Function function;
};
const Method* find_method(Kind kind, std::string_view name);
bool changes_its_object(Kind kind, std::string_view name);  // list.append, dict.update, …: undefined in the sandbox

}  // namespace nibble::text::jinja
