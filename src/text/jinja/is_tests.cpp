// The tests behind `is`: jinja2's built-in ones.
#include "text/jinja/binding.h"
#include "text/jinja/methods.h"

#include <algorithm>

namespace nibble::text::jinja {
namespace {

bool remainder_is(Runtime& runtime, const Item& value, const Item& by, int64_t wanted, Item& out) {
    Item remainder;
    if (!arithmetic(runtime, Operator::modulo, value, by, remainder)) return false;
    out = Item::of(equal(runtime, remainder, Item::of(wanted)));
    return !runtime.failed();
}

bool odd(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    return bind_nothing(runtime, "odd", arguments) && remainder_is(runtime, value, Item::of(int64_t{2}), 1, out);
}

bool even(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    return bind_nothing(runtime, "even", arguments) && remainder_is(runtime, value, Item::of(int64_t{2}), 0, out);
}

bool divisibleby(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Item by;
    return bind(runtime, "divisibleby", arguments, {{"num", Item()}}, &by) && remainder_is(runtime, value, by, 0, out);
}

bool is_sequence(const Item& v) {
    return v.is_undefined() || v.is_string() || v.is_list() || v.is(Kind::tuple) || v.is(Kind::dict) ||
           v.is(Kind::range);
}

// A test of the value alone.
template <auto Holds>
bool unary(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    out = Item::of(Holds(value));
    return bind_nothing(runtime, "test", arguments);
}

template <bool (*Holds)(std::string_view)>
bool of_text(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    std::string_view text;
    if (!bind_nothing(runtime, "test", arguments) || !to_text(runtime, value, text)) return false;
    out = Item::of(Holds(text));
    return true;
}

template <Operator op>
bool compared(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Item other;
    bool holds;
    if (!bind(runtime, "test", arguments, {{"", Item()}}, &other) || !compare(runtime, op, value, other, holds))
        return false;
    out = Item::of(holds);
    return true;
}

bool contained(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Item container;
    bool holds;
    if (!bind(runtime, "in", arguments, {{"seq", Item()}}, &container) || !contains(runtime, container, value, holds))
        return false;
    out = Item::of(holds);
    return true;
}

bool sameas(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    Item other;
    if (!bind(runtime, "sameas", arguments, {{"other", Item()}}, &other)) return false;
    out = Item::of(identical(value, other));
    return true;
}

template <Function (*Find)(std::string_view)>
bool exists(Runtime& runtime, const Item& value, const Arguments& arguments, Item& out) {
    uint64_t unused;
    if (!bind_nothing(runtime, "test", arguments) || !hash(runtime, value, unused)) return false;
    out = Item::of(value.is_string() && Find(value.view_text()) != nullptr);
    return true;
}

struct Row {
    std::string_view name;
    Function function;
};

constexpr Row kTests[] = {
    {"odd", odd},
    {"even", even},
    {"divisibleby", divisibleby},
    {"defined", unary<[](const Item& v) { return !v.is_undefined(); }>},
    {"undefined", unary<[](const Item& v) { return v.is_undefined(); }>},
    {"filter", exists<find_filter>},
    {"test", exists<find_test>},
    {"none", unary<[](const Item& v) { return v.is_none(); }>},
    {"boolean", unary<[](const Item& v) { return v.is(Kind::boolean); }>},
    {"false", unary<[](const Item& v) { return v.is(Kind::boolean) && !v.boolean; }>},
    {"true", unary<[](const Item& v) { return v.is(Kind::boolean) && v.boolean; }>},
    {"integer", unary<[](const Item& v) { return v.is(Kind::integer); }>},
    {"float", unary<[](const Item& v) { return v.is(Kind::real); }>},
    {"lower", of_text<is_lower_text>},
    {"upper", of_text<is_upper_text>},
    {"string", unary<[](const Item& v) { return v.is_string(); }>},
    {"mapping", unary<[](const Item& v) { return v.is(Kind::dict); }>},
    {"number", unary<[](const Item& v) { return v.is_number(); }>},
    {"sequence", unary<is_sequence>},
    {"iterable", unary<is_iterable>},
    {"callable", unary<is_callable>},
    {"sameas", sameas},
    {"escaped", unary<[](const Item& v) { return v.is_string() && v.markup; }>},
    {"in", contained},
    {"==", compared<Operator::equal>},
    {"eq", compared<Operator::equal>},
    {"equalto", compared<Operator::equal>},
    {"!=", compared<Operator::not_equal>},
    {"ne", compared<Operator::not_equal>},
    {">", compared<Operator::greater>},
    {"gt", compared<Operator::greater>},
    {"greaterthan", compared<Operator::greater>},
    {">=", compared<Operator::greater_equal>},
    {"ge", compared<Operator::greater_equal>},
    {"<", compared<Operator::less>},
    {"lt", compared<Operator::less>},
    {"lessthan", compared<Operator::less>},
    {"<=", compared<Operator::less_equal>},
    {"le", compared<Operator::less_equal>},
};

}  // namespace

Function find_test(std::string_view name) {
    const Row* row = std::find_if(std::begin(kTests), std::end(kTests), [&](const Row& r) { return r.name == name; });
    return row == std::end(kTests) ? nullptr : row->function;
}

}  // namespace nibble::text::jinja
