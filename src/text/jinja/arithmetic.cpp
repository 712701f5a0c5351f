// + - * / // % ** of Python, on Items.
#include "text/jinja/operations.h"

#include <cmath>

namespace nibble::text::jinja {
namespace {

std::string_view sign(Operator op) {
    switch (op) {
        case Operator::add:
            return "+";
        case Operator::subtract:
            return "-";
        case Operator::multiply:
            return "*";
        case Operator::divide:
            return "/";
        case Operator::floor_divide:
            return "//";
        case Operator::modulo:
            return "%";
        default:
            return "**";
    }
}

bool unsupported(Runtime& runtime, Operator op, const Item& left, const Item& right) {
    return runtime.fail("unsupported operand types for {}: '{}' and '{}'", sign(op), type_name(left), type_name(right));
}

bool overflow(Runtime& runtime, Operator op) {
    return runtime.fail("the result of {} does not fit into 64 bits", sign(op));
}

bool integer_power(Runtime& runtime, int64_t base, int64_t exponent, Item& out) {
    int64_t result = 1;
    while (exponent > 0) {
        if ((exponent & 1) && __builtin_mul_overflow(result, base, &result)) return overflow(runtime, Operator::power);
        exponent >>= 1;
        if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) return overflow(runtime, Operator::power);
    }
    out = Item::of(result);
    return true;
}

bool integers(Runtime& runtime, Operator op, int64_t a, int64_t b, Item& out) {
    int64_t result = 0;
    bool overflows = false;
    switch (op) {
        case Operator::add:
            overflows = __builtin_add_overflow(a, b, &result);
            break;
        case Operator::subtract:
            overflows = __builtin_sub_overflow(a, b, &result);
            break;
        case Operator::multiply:
            overflows = __builtin_mul_overflow(a, b, &result);
            break;
        case Operator::divide:
            if (b == 0) return runtime.fail("division by zero");
            out = Item::of(static_cast<double>(a) / static_cast<double>(b));
            return true;
        case Operator::floor_divide:
        case Operator::modulo: {
            if (b == 0) return runtime.fail("integer division or modulo by zero");
            if (b == -1) {  // the one division that can overflow
                overflows = op == Operator::floor_divide && __builtin_sub_overflow(int64_t{0}, a, &result);
                break;
            }
            int64_t quotient = a / b, remainder = a % b;
            if (remainder != 0 && (remainder < 0) != (b < 0)) {
                quotient--;
                remainder += b;
            }
            result = op == Operator::modulo ? remainder : quotient;
            break;
        }
        default:
            if (b >= 0) return integer_power(runtime, a, b, out);
            if (a == 0) return runtime.fail("0.0 cannot be raised to a negative power");
            out = Item::of(std::pow(static_cast<double>(a), static_cast<double>(b)));
            return true;
    }
    if (overflows) return overflow(runtime, op);
    out = Item::of(result);
    return true;
}

bool reals(Runtime& runtime, Operator op, double a, double b, Item& out) {
    switch (op) {
        case Operator::add:
            out = Item::of(a + b);
            return true;
        case Operator::subtract:
            out = Item::of(a - b);
            return true;
        case Operator::multiply:
            out = Item::of(a * b);
            return true;
        default:
            break;
    }
    if (op == Operator::power) {
        if (a == 0 && b < 0) return runtime.fail("0.0 cannot be raised to a negative power");
        if (a < 0 && std::isfinite(a) && std::isfinite(b) && b != std::floor(b))
            return runtime.fail("a negative number cannot be raised to a fractional power");
        const double result = std::pow(a, b);
        if (std::isinf(result) && std::isfinite(a) && std::isfinite(b))
            return runtime.fail("numerical result out of range");
        out = Item::of(result);
        return true;
    }
    if (b == 0) return runtime.fail("float division by zero");
    out = Item::of(op == Operator::divide ? a / b : op == Operator::modulo ? modulo(a, b) : floor_divide(a, b));
    return true;
}

bool repeat(Runtime& runtime, const Item& sequence, int64_t times, Item& out) {
    const size_t count = times > 0 ? static_cast<size_t>(times) : 0;
    if (sequence.is_string()) {
        size_t bytes;
        if (__builtin_mul_overflow(count, static_cast<size_t>(sequence.length), &bytes)) bytes = SIZE_MAX;
        if (!runtime.allow_text(bytes)) return false;
        std::string text;
        text.reserve(bytes);
        if (bytes > 0)
            for (size_t i = 0; i < count; i++) text += sequence.view_text();
        out = runtime.text(text, sequence.markup);
        return true;
    }
    size_t size;
    if (__builtin_mul_overflow(count, static_cast<size_t>(sequence.list->size), &size)) size = SIZE_MAX;
    if (!runtime.allow_items(size)) return false;
    std::vector<Item> items;
    items.reserve(size);
    if (size > 0)
        for (size_t i = 0; i < count; i++)
            items.insert(items.end(), sequence.list->items, sequence.list->items + sequence.list->size);
    return sequence.is_list() ? runtime.list(items, out) : runtime.tuple(items, out);
}

bool add_texts(Runtime& runtime, const Item& left, const Item& right, Item& out) {
    if (left.markup == right.markup) {
        if (!runtime.join(left.view_text(), right.view_text(), out)) return false;
        out.markup = left.markup;
        return true;
    }
    Item a, b;
    if (!escape(runtime, left, a) || !escape(runtime, right, b)) return false;
    if (!runtime.join(a.view_text(), b.view_text(), out)) return false;
    out.markup = true;
    return true;
}

bool add_lists(Runtime& runtime, const Item& left, const Item& right, Item& out) {
    std::vector<Item> items;
    if (!runtime.allow_items(size_t{left.list->size} + right.list->size)) return false;
    items.reserve(size_t{left.list->size} + right.list->size);
    items.assign(left.list->items, left.list->items + left.list->size);
    items.insert(items.end(), right.list->items, right.list->items + right.list->size);
    return left.is_list() ? runtime.list(items, out) : runtime.tuple(items, out);
}

bool is_sequence(const Item& item) {
    return item.is_string() || item.is_list() || item.is(Kind::tuple);
}

}  // namespace

double modulo(double a, double b) {
    double remainder = std::fmod(a, b);
    if (remainder != 0) {
        if ((b < 0) != (remainder < 0)) remainder += b;
    } else {
        remainder = std::copysign(0.0, b);
    }
    return remainder;
}

double floor_divide(double a, double b) {
    double remainder = std::fmod(a, b);
    double quotient = (a - remainder) / b;
    if (remainder != 0 && (b < 0) != (remainder < 0)) quotient -= 1;
    if (quotient == 0) return std::copysign(0.0, a / b);
    const double whole = std::floor(quotient);
    return quotient - whole > 0.5 ? whole + 1 : whole;
}

bool arithmetic(Runtime& runtime, Operator op, const Item& left, const Item& right, Item& out) {
    if (op == Operator::modulo && left.is_string()) return format_percent(runtime, left, right, out);
    if (left.is_undefined()) return runtime.fail_undefined(left);
    if (right.is_undefined()) return runtime.fail_undefined(right);
    if (left.is_integer() && right.is_integer())
        return integers(runtime, op, left.as_integer(), right.as_integer(), out);
    if (left.is_number() && right.is_number()) return reals(runtime, op, left.as_real(), right.as_real(), out);
    if (op == Operator::add) {
        if (left.is_string() && right.is_string()) return add_texts(runtime, left, right, out);
        if (left.kind == right.kind && is_sequence(left)) return add_lists(runtime, left, right, out);
    } else if (op == Operator::multiply) {
        if (is_sequence(left) && right.is_integer()) return repeat(runtime, left, right.as_integer(), out);
        if (left.is_integer() && is_sequence(right)) return repeat(runtime, right, left.as_integer(), out);
    }
    return unsupported(runtime, op, left, right);
}

bool negate(Runtime& runtime, const Item& item, Item& out) {
    if (item.is_undefined()) return runtime.fail_undefined(item);
    if (item.is(Kind::real)) {
        out = Item::of(-item.real);
        return true;
    }
    if (!item.is_integer()) return runtime.fail("bad operand type for unary -: '{}'", type_name(item));
    return integers(runtime, Operator::subtract, 0, item.as_integer(), out);
}

bool positive(Runtime& runtime, const Item& item, Item& out) {
    if (item.is_undefined()) return runtime.fail_undefined(item);
    if (!item.is_number()) return runtime.fail("bad operand type for unary +: '{}'", type_name(item));
    out = item.is(Kind::real) ? item : Item::of(item.as_integer());
    return true;
}

}  // namespace nibble::text::jinja
