// Expressions and calls.
#include "text/jinja/interpreter.h"

namespace nibble::text::jinja {
namespace {

struct OwnedArguments {
    std::vector<Item> positional;
    std::vector<Keyword> named;
};

}  // namespace

bool Interpreter::evaluate(const Expression& e, Activation& activation, Item& out) {
    if (!runtime_.spend(1) || out_of_stack()) return false;
    switch (e.kind) {
        case Expression::Kind::constant:
            out = e.constant;
            return true;
        case Expression::Kind::name:
            out = slot(e.variable, activation);
            if (out.is(Kind::missing)) out = Item::undefined(Absence::name, e.name);
            return true;
        case Expression::Kind::list:
        case Expression::Kind::tuple:
            return evaluate_list(e, activation, out);
        case Expression::Kind::dict:
            return evaluate_dict(e, activation, out);
        case Expression::Kind::suffixed:
            return evaluate_suffixed(e, activation, out);
        case Expression::Kind::negative:
        case Expression::Kind::positive: {
            Item operand;
            if (!evaluate(*e.operands[0], activation, operand)) return false;
            at_ = e.at;
            return e.kind == Expression::Kind::negative ? negate(runtime_, operand, out)
                                                        : positive(runtime_, operand, out);
        }
        case Expression::Kind::logical_not:
            if (!evaluate(*e.operands[0], activation, out)) return false;
            out = Item::of(!truth(out));
            return true;
        case Expression::Kind::arithmetic:
            return evaluate_arithmetic(e, activation, out);
        case Expression::Kind::comparison:
            return evaluate_comparison(e, activation, out);
        case Expression::Kind::join:
            return evaluate_join(e, activation, out);
        case Expression::Kind::all:
        case Expression::Kind::any:
            for (const ExpressionPtr& operand : e.operands) {
                if (!evaluate(*operand, activation, out)) return false;
                if (truth(out) == (e.kind == Expression::Kind::any)) break;
            }
            return true;
        case Expression::Kind::conditional: {
            if (!evaluate(*e.operands[1], activation, out)) return false;
            if (truth(out)) return evaluate(*e.operands[0], activation, out);
            if (e.operands.size() == 3) return evaluate(*e.operands[2], activation, out);
            out = Item::undefined(Absence::hint,
                                  "the inline if-expression evaluated to false and no else section was defined");
            return true;
        }
    }
    return false;
}

bool Interpreter::evaluate_list(const Expression& e, Activation& activation, Item& out) {
    std::vector<Item> items(e.operands.size());
    for (size_t i = 0; i < items.size(); i++)
        if (!evaluate(*e.operands[i], activation, items[i])) return false;
    return e.kind == Expression::Kind::list ? runtime_.list(items, out) : runtime_.tuple(items, out);
}

bool Interpreter::evaluate_dict(const Expression& e, Activation& activation, Item& out) {
    DictBuilder dict(runtime_);
    for (size_t i = 0; i < e.operands.size(); i += 2) {
        Item key, value;
        if (!evaluate(*e.operands[i], activation, key) || !evaluate(*e.operands[i + 1], activation, value) ||
            !dict.set(key, value))
            return false;
    }
    return dict.finish(out);
}

bool Interpreter::evaluate_arithmetic(const Expression& e, Activation& activation, Item& out) {
    if (!evaluate(*e.operands[0], activation, out)) return false;
    for (size_t i = 0; i < e.operators.size(); i++) {
        Item right;
        if (!evaluate(*e.operands[i + 1], activation, right)) return false;
        at_ = e.at;
        const Item left = out;
        if (!arithmetic(runtime_, e.operators[i], left, right, out)) return false;
    }
    return true;
}

bool Interpreter::evaluate_comparison(const Expression& e, Activation& activation, Item& out) {
    Item left, right;
    if (!evaluate(*e.operands[0], activation, left)) return false;
    for (size_t i = 0; i < e.operators.size(); i++) {
        bool holds;
        if (!evaluate(*e.operands[i + 1], activation, right)) return false;
        at_ = e.at;
        if (!compare(runtime_, e.operators[i], left, right, holds)) return false;
        out = Item::of(holds);
        if (!holds) return true;
        left = right;
    }
    return true;
}

bool Interpreter::evaluate_join(const Expression& e, Activation& activation, Item& out) {
    std::vector<Item> items(e.operands.size());
    for (size_t i = 0; i < items.size(); i++)
        if (!evaluate(*e.operands[i], activation, items[i])) return false;
    at_ = e.at;
    std::string_view text;
    if (!to_text(runtime_, items[0], text)) return false;
    out = Item::of(text);
    for (size_t i = 1; i < items.size(); i++)
        if (!to_text(runtime_, items[i], text) || !runtime_.join(out.view_text(), text, out)) return false;
    return true;
}

bool Interpreter::evaluate_suffixed(const Expression& e, Activation& activation, Item& out, const Item* caller) {
    if (!evaluate(*e.operands[0], activation, out)) return false;
    for (const Suffix& suffix : e.suffixes)
        if (!apply(suffix, activation, out, &suffix == &e.suffixes.back() ? caller : nullptr)) return false;
    return true;
}

bool Interpreter::apply(const Suffix& suffix, Activation& activation, Item& value, const Item* caller) {
    switch (suffix.kind) {
        case Suffix::Kind::attribute: {
            at_ = suffix.at;
            const Item object = value;
            return runtime_.spend(1) && get_attribute(runtime_, object, suffix.name, value);
        }
        case Suffix::Kind::item: {
            Item key;
            if (!evaluate(*suffix.parts[0], activation, key)) return false;
            at_ = suffix.at;
            const Item object = value;
            return get_item(runtime_, object, key, value);
        }
        case Suffix::Kind::slice:
            return apply_slice(suffix, activation, value);
        default:
            return apply_call(suffix, activation, value, caller);
    }
}

bool Interpreter::apply_slice(const Suffix& suffix, Activation& activation, Item& value) {
    Item parts[3] = {Item::none(), Item::none(), Item::none()};
    for (int i = 0; i < 3; i++)
        if (suffix.parts[i] && !evaluate(*suffix.parts[i], activation, parts[i])) return false;
    at_ = suffix.at;
    const Item object = value;
    return slice(runtime_, object, parts[0], parts[1], parts[2], value);
}

// A call, filter or test: its arguments, then itself.
bool Interpreter::apply_call(const Suffix& suffix, Activation& activation, Item& value, const Item* caller) {
    const CallArguments& given = suffix.arguments;
    OwnedArguments owned;
    owned.positional.reserve(given.positional.size());
    for (const ExpressionPtr& expression : given.positional)
        if (!evaluate(*expression, activation, owned.positional.emplace_back())) return false;
    for (const auto& [name, expression] : given.named) {
        owned.named.push_back({name, {}});
        if (!evaluate(*expression, activation, owned.named.back().value)) return false;
    }
    if (caller) owned.named.push_back({"caller", *caller});
    if (given.spread) {
        Item source;
        if (!evaluate(*given.spread, activation, source) || !collect(runtime_, source, owned.positional)) return false;
    }
    if (given.spread_named) {
        Item source;
        if (!evaluate(*given.spread_named, activation, source)) return false;
        if (!source.is(Kind::dict))
            return runtime_.fail("argument after ** must be a mapping, not '{}'", type_name(source));
        for (const Entry& entry : source.dict->span()) {
            if (!entry.key.is_string()) return runtime_.fail("keywords must be strings");
            for (const Keyword& keyword : owned.named)
                if (keyword.name == entry.key.view_text())
                    return runtime_.fail("multiple values for keyword argument '{}'", keyword.name);
            owned.named.push_back({entry.key.view_text(), entry.value});
            if (!runtime_.spend(1 + owned.named.size())) return false;
        }
    }
    at_ = suffix.at;
    const Arguments arguments{owned.positional, owned.named};
    const Item subject = value;
    if (suffix.kind == Suffix::Kind::call) return call(subject, arguments, value);
    if (suffix.function == nullptr)
        return runtime_.fail_template("no {} named '{}'", suffix.kind == Suffix::Kind::filter ? "filter" : "test",
                                      suffix.name);
    if (!runtime_.spend_bytes(subject.is_string() ? subject.length : 0) ||
        !suffix.function(runtime_, subject, arguments, value))
        return false;
    if (suffix.negated) value = Item::of(!truth(value));
    return true;
}

bool Interpreter::call(const Item& callee, const Arguments& arguments, Item& out) {
    switch (callee.kind) {
        case Kind::macro:
            return call_macro(*callee.macro, arguments, out);
        case Kind::callable: {
            const Callable& callable = *callee.callable;
            if (callable.function == nullptr) return runtime_.fail_template("{}() is not supported", callable.name);
            const bool text = callable.subject.is_string();
            return runtime_.spend_bytes(text ? callable.subject.length : 0) &&
                   callable.function(runtime_, callable.subject, arguments, out);
        }
        case Kind::joiner:
            if (!arguments.positional.empty() || !arguments.named.empty())
                return runtime_.fail("a joiner takes no arguments");
            out = callee.joiner->used ? callee.joiner->separator : Item::of(std::string_view());
            callee.joiner->used = true;
            return true;
        case Kind::undefined:
            return runtime_.fail_undefined(callee);
        default:
            return runtime_.fail("'{}' object is not callable", type_name(callee));
    }
}

bool Interpreter::call_macro(const Macro& macro, const Arguments& arguments, Item& out) {
    const MacroDefinition& definition = *macro.definition;
    const std::string_view name = definition.name.empty() ? "caller" : definition.name;
    const size_t count = definition.parameters.size();
    if (macro_depth_ >= runtime_.limits().depth)
        return runtime_.fail_template("macro '{}' is called over {} deep", name, runtime_.limits().depth);
    Activation* activation = activate(macro.outer, definition.slots);

    std::vector<Keyword> rest(arguments.named.begin(), arguments.named.end());
    auto take = [&](std::string_view wanted, Item& to) {
        for (size_t i = 0; i < rest.size(); i++) {
            if (rest[i].name != wanted) continue;
            to = rest[i].value;
            rest.erase(rest.begin() + static_cast<ptrdiff_t>(i));
            return;
        }
    };
    for (size_t i = 0; i < count; i++) {
        Item& place = activation->slots[definition.parameters[i].slot];
        if (i < arguments.positional.size())
            place = arguments.positional[i];
        else
            take(definition.parameters[i].name, place);
    }
    if (definition.caller_slot >= 0) {
        Item& place = activation->slots[definition.caller_slot];
        take("caller", place);
        if (place.is(Kind::missing) || place.is_none()) place = Item::undefined(Absence::hint, "No caller defined");
    }
    if (definition.kwargs_slot >= 0) {
        DictBuilder kwargs(runtime_);
        for (const Keyword& keyword : rest)
            if (!kwargs.set(Item::of(keyword.name), keyword.value)) return false;
        if (!kwargs.finish(activation->slots[definition.kwargs_slot])) return false;
    } else if (!rest.empty()) {
        return runtime_.fail("macro '{}' takes no keyword argument '{}'", name, rest[0].name);
    }
    const size_t given = arguments.positional.size();
    if (definition.varargs_slot >= 0) {
        const auto more = arguments.positional.subspan(std::min(count, given));
        if (!runtime_.tuple(more, activation->slots[definition.varargs_slot])) return false;
    } else if (given > count) {
        return runtime_.fail("macro '{}' takes not more than {} arguments ({} given)", name, count, given);
    }

    macro_depth_++;
    enter(definition.entry, *activation);
    bool ok = true;
    for (const MacroParameter& parameter : definition.parameters) {
        Item& place = activation->slots[parameter.slot];
        if (!ok || !place.is(Kind::missing)) continue;
        if (parameter.fallback) {
            Item value;
            ok = evaluate(*parameter.fallback, *activation, value);
            place = value;
        } else {
            place = Item::undefined(Absence::name, parameter.name);
        }
    }
    ok = ok && captured(definition.body, *activation, out) == Flow::normal;
    macro_depth_--;
    return ok;
}

}  // namespace nibble::text::jinja
