// What follows an expression (subscripts, calls, filters, tests), and the targets of assignments.
#include "text/jinja/expression_parser.h"

namespace nibble::text::jinja {

bool ExpressionParser::postfixes(ExpressionPtr& base) {
    for (;;) {
        const uint32_t at = current().at;
        if (current().is(".") || current().is("[")) {
            if (!subscript(add_suffix(base, Suffix::Kind::item, at))) return false;
        } else if (current().is("(")) {
            if (!call_arguments(add_suffix(base, Suffix::Kind::call, at).arguments)) return false;
        } else {
            return true;
        }
    }
}

bool ExpressionParser::filters_and_tests(ExpressionPtr& base) {
    for (;;) {
        const uint32_t at = current().at;
        if (take_symbol("|")) {
            if (!filter(add_suffix(base, Suffix::Kind::filter, at))) return false;
        } else if (take_word("is")) {
            if (!test(add_suffix(base, Suffix::Kind::test, at))) return false;
        } else if (current().is("(")) {
            if (!call_arguments(add_suffix(base, Suffix::Kind::call, at).arguments)) return false;
        } else {
            return true;
        }
    }
}

bool ExpressionParser::subscript(Suffix& out) {
    if (take_symbol(".")) {
        const Token token = take();
        if (token.type == TokenType::name) {
            out.kind = Suffix::Kind::attribute;
            out.name = token.value;
            return true;
        }
        if (token.type != TokenType::integer) return fail(token.at, "a name or a number expected behind '.'");
        out.parts[0] = make_expression(Expression::Kind::constant, token.at);
        out.parts[0]->constant = Item::of(token.integer);
        return true;
    }
    const uint32_t at = take().at;
    Nested nested(*this);
    if (nested.refused()) return false;
    std::vector<Suffix> parts;
    while (!current().is("]")) {
        if (!parts.empty() && !expect_symbol(",")) return false;
        if (!subscript_part(parts.emplace_back())) return false;
    }
    take();
    if (parts.size() == 1) {
        out.kind = parts[0].kind;
        std::move(std::begin(parts[0].parts), std::end(parts[0].parts), out.parts);
        return true;
    }
    out.parts[0] = make_expression(Expression::Kind::tuple, at);
    for (Suffix& part : parts) {
        if (part.kind == Suffix::Kind::slice) return fail(at, "a slice among several subscripts");
        out.parts[0]->operands.push_back(std::move(part.parts[0]));
    }
    return true;
}

// An item, or start:stop:step.
bool ExpressionParser::subscript_part(Suffix& out) {
    out.kind = Suffix::Kind::item;
    if (!current().is(":")) {
        out.parts[0] = expression();
        if (!out.parts[0]) return false;
        if (!current().is(":")) return true;
    }
    out.kind = Suffix::Kind::slice;
    for (int part = 1; part < 3 && take_symbol(":"); part++) {
        if (current().is(":") || current().is("]") || current().is(",")) continue;
        out.parts[part] = expression();
        if (!out.parts[part]) return false;
    }
    return true;
}

bool ExpressionParser::call_arguments(CallArguments& out) {
    const uint32_t at = take().at;
    Nested nested(*this);
    if (nested.refused()) return false;
    for (bool first = true; !current().is(")"); first = false) {
        if (!first) {
            if (!expect_symbol(",")) return false;
            if (current().is(")")) break;
        }
        const bool named = current().type == TokenType::name && ahead().is("=");
        const bool out_of_order = current().is("*")    ? out.spread || out.spread_named
                                  : current().is("**") ? out.spread_named != nullptr
                                  : named              ? out.spread_named != nullptr
                                                       : out.spread || out.spread_named || !out.named.empty();
        if (out_of_order) return fail(at, "invalid order of arguments");
        if (take_symbol("*")) {
            out.spread = expression();
            if (!out.spread) return false;
        } else if (take_symbol("**")) {
            out.spread_named = expression();
            if (!out.spread_named) return false;
        } else if (named) {
            const std::string_view name = take().value;
            take();
            for (const auto& [other, value] : out.named)
                if (other == name) return fail(at, fmt::format("keyword argument '{}' repeated", name));
            ExpressionPtr value = expression();
            if (!value) return false;
            out.named.emplace_back(name, std::move(value));
        } else {
            ExpressionPtr value = expression();
            if (!value) return false;
            out.positional.push_back(std::move(value));
        }
    }
    take();
    return true;
}

bool ExpressionParser::filter(Suffix& out) {
    out.kind = Suffix::Kind::filter;
    out.at = current().at;
    out.name = current().value;
    if (!expect(TokenType::name, "the name of a filter")) return false;
    out.function = find_filter(out.name);
    while (take_symbol(".")) {
        out.function = nullptr;  // no filter of ours has a dot in its name
        if (!expect(TokenType::name, "the name of a filter")) return false;
    }
    return !current().is("(") || call_arguments(out.arguments);
}

bool ExpressionParser::filters(std::vector<Suffix>& out, bool first_without_pipe) {
    while (first_without_pipe || take_symbol("|")) {
        first_without_pipe = false;
        if (!filter(out.emplace_back())) return false;
    }
    return true;
}

bool ExpressionParser::test(Suffix& out) {
    out.negated = take_word("not");
    out.name = current().value;
    if (!expect(TokenType::name, "the name of a test")) return false;
    out.function = find_test(out.name);
    while (take_symbol(".")) {
        out.function = nullptr;
        if (!expect(TokenType::name, "the name of a test")) return false;
    }
    const Token& token = current();
    if (token.is("(")) return call_arguments(out.arguments);
    const bool argument =
        token.type == TokenType::string || token.type == TokenType::integer || token.type == TokenType::real ||
        token.is("[") || token.is("{") ||
        (token.type == TokenType::name && token.value != "else" && token.value != "or" && token.value != "and");
    if (!argument) return true;
    if (token.is_name("is")) return fail(token.at, "tests cannot be chained with is");
    ExpressionPtr value = primary();
    if (!value || !postfixes(value)) return false;
    out.arguments.positional.push_back(std::move(value));
    return true;
}

bool ExpressionParser::target_name(std::string_view& out) {
    const Token token = current();
    if (!expect(TokenType::name, "a name")) return false;
    if (is_constant_word(token.value)) return fail(token.at, fmt::format("'{}' cannot be assigned to", token.value));
    out = token.value;
    return true;
}

bool ExpressionParser::to_target(const Expression& expression, Target& out) {
    out.at = expression.at;
    if (expression.kind == Expression::Kind::name) {
        out.kind = Target::Kind::name;
        out.name = expression.name;
        return true;
    }
    if (expression.kind != Expression::Kind::tuple) return fail(expression.at, "this cannot be assigned to");
    out.kind = Target::Kind::tuple;
    for (const ExpressionPtr& operand : expression.operands)
        if (!to_target(*operand, out.parts.emplace_back())) return false;
    return true;
}

bool ExpressionParser::target_part(Target& out, bool attributes) {
    if (attributes && current().type == TokenType::name && !is_constant_word(current().value) && ahead().is(".")) {
        out.kind = Target::Kind::attribute;
        out.at = current().at;
        out.name = take().value;
        take();
        out.attribute = current().value;
        return expect(TokenType::name, "the name of an attribute");
    }
    const ExpressionPtr expression = primary();
    return expression && to_target(*expression, out);
}

bool ExpressionParser::target(Target& out, std::string_view end_word, bool attributes) {
    const uint32_t at = current().at;
    std::vector<Target> parts;
    bool is_tuple = false;
    for (;;) {
        if (!parts.empty() && !expect_symbol(",")) return false;
        const Token& token = current();
        if (token.type == TokenType::variable_end || token.type == TokenType::block_end || token.is(")") ||
            (!end_word.empty() && token.is_name(end_word)))
            break;
        if (!target_part(parts.emplace_back(), attributes)) return false;
        if (!current().is(",")) break;
        is_tuple = true;
    }
    if (parts.empty()) return unexpected("a name to assign to");
    if (!is_tuple) {
        out = std::move(parts[0]);
        return true;
    }
    out.kind = Target::Kind::tuple;
    out.at = at;
    out.parts = std::move(parts);
    return true;
}

}  // namespace nibble::text::jinja
