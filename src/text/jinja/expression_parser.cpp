#include "text/jinja/expression_parser.h"

#include <algorithm>

namespace nibble::text::jinja {
namespace {

bool is_operator(const Token& token, std::initializer_list<std::string_view> symbols) {
    return token.type == TokenType::symbol && std::find(symbols.begin(), symbols.end(), token.value) != symbols.end();
}

Operator operator_of(std::string_view symbol) {
    struct Row {
        std::string_view symbol;
        Operator op;
    };
    constexpr Row kRows[] = {
        {"+", Operator::add},           {"-", Operator::subtract},      {"*", Operator::multiply},
        {"/", Operator::divide},        {"//", Operator::floor_divide}, {"%", Operator::modulo},
        {"**", Operator::power},        {"==", Operator::equal},        {"!=", Operator::not_equal},
        {"<", Operator::less},          {"<=", Operator::less_equal},   {">", Operator::greater},
        {">=", Operator::greater_equal}};
    for (const Row& row : kRows)
        if (row.symbol == symbol) return row.op;
    return Operator::add;
}

std::string describe(const Token& token) {
    switch (token.type) {
        case TokenType::text:
            return "template text";
        case TokenType::variable_begin:
            return "'{{'";
        case TokenType::variable_end:
            return "'}}'";
        case TokenType::block_begin:
            return "'{%'";
        case TokenType::block_end:
            return "'%}'";
        case TokenType::end:
            return "the end of the template";
        case TokenType::string:
            return "a string";
        default:
            return fmt::format("'{}'", token.value);
    }
}

bool is_constant_word(std::string_view name) {
    return name == "true" || name == "True" || name == "false" || name == "False" || name == "none" || name == "None";
}

}  // namespace

ExpressionPtr make_expression(Expression::Kind kind, uint32_t at) {
    auto expression = std::make_unique<Expression>();
    expression->kind = kind;
    expression->at = at;
    return expression;
}

Token ExpressionParser::take() {
    const Token taken = current_;
    current_ = ahead_;
    ahead_ = lexer_.next();
    return taken;
}

bool ExpressionParser::fail(uint32_t at, std::string_view message) {
    if (!error_ && current_.type == TokenType::end && lexer_.failure()) {
        error_ = lexer_.failure();  // why the tokens end here
    } else if (!error_) {
        const Position p = position_of(program_.source, at);
        error_ = error(ErrorCode::model_invalid, "{}:{}:{}: {}", program_.name, p.line, p.column, message);
    }
    return false;
}

bool ExpressionParser::unexpected(std::string_view wanted) {
    return fail(current().at, fmt::format("{} expected, found {}", wanted, describe(current())));
}

bool ExpressionParser::take_symbol(std::string_view symbol) {
    if (!current().is(symbol)) return false;
    take();
    return true;
}

bool ExpressionParser::take_word(std::string_view word) {
    if (!current().is_name(word)) return false;
    take();
    return true;
}

bool ExpressionParser::expect_symbol(std::string_view symbol) {
    return take_symbol(symbol) || unexpected(fmt::format("'{}'", symbol));
}

bool ExpressionParser::expect_word(std::string_view word) {
    return take_word(word) || unexpected(fmt::format("'{}'", word));
}

bool ExpressionParser::expect(TokenType type, std::string_view what) {
    if (current().type != type) return unexpected(what);
    take();
    return true;
}

ExpressionPtr ExpressionParser::tuple(const TupleRules& rules) {
    const uint32_t at = current().at;
    std::vector<ExpressionPtr> items;
    bool is_tuple = false;
    for (;;) {
        if (!items.empty() && !expect_symbol(",")) return nullptr;
        const Token& token = current();
        if (token.type == TokenType::variable_end || token.type == TokenType::block_end || token.is(")") ||
            (!rules.end_word.empty() && token.is_name(rules.end_word)))
            break;
        ExpressionPtr item = rules.conditional ? conditional() : disjunction();
        if (!item) return nullptr;
        items.push_back(std::move(item));
        if (!current().is(",")) break;
        is_tuple = true;
    }
    if (!is_tuple && !items.empty()) return std::move(items[0]);
    if (!is_tuple && !rules.parenthesized) {
        unexpected("an expression");
        return nullptr;
    }
    ExpressionPtr out = make_expression(Expression::Kind::tuple, at);
    out->operands = std::move(items);
    return out;
}

ExpressionPtr ExpressionParser::conditional() {
    const uint32_t at = current().at;
    const int depth = depth_;
    ExpressionPtr value = disjunction();
    while (value && take_word("if")) {
        ExpressionPtr out = make_expression(Expression::Kind::conditional, at);
        out->operands.push_back(std::move(value));
        ExpressionPtr condition = disjunction();
        if (!condition) return nullptr;
        out->operands.push_back(std::move(condition));
        if (take_word("else")) {
            Nested nested(*this);
            ExpressionPtr otherwise = nested.refused() ? nullptr : conditional();
            if (!otherwise) return nullptr;
            out->operands.push_back(std::move(otherwise));
        }
        value = std::move(out);
        // Without else, `a if b if c` nests to the left, which no bracket shows.
        if (++depth_ > max_depth_) fail(at, fmt::format("nested over {} deep", max_depth_));
        if (error_) return nullptr;
    }
    depth_ = depth;
    return value;
}

ExpressionPtr ExpressionParser::disjunction() {
    const uint32_t at = current().at;
    ExpressionPtr left = conjunction();
    if (!left || !current().is_name("or")) return left;
    ExpressionPtr out = make_expression(Expression::Kind::any, at);
    out->operands.push_back(std::move(left));
    while (take_word("or")) {
        out->operands.push_back(conjunction());
        if (!out->operands.back()) return nullptr;
    }
    return out;
}

ExpressionPtr ExpressionParser::conjunction() {
    const uint32_t at = current().at;
    ExpressionPtr left = negation();
    if (!left || !current().is_name("and")) return left;
    ExpressionPtr out = make_expression(Expression::Kind::all, at);
    out->operands.push_back(std::move(left));
    while (take_word("and")) {
        out->operands.push_back(negation());
        if (!out->operands.back()) return nullptr;
    }
    return out;
}

ExpressionPtr ExpressionParser::negation() {
    const uint32_t at = current().at;
    if (!take_word("not")) return comparison();
    Nested nested(*this);
    ExpressionPtr operand = nested.refused() ? nullptr : negation();
    if (!operand) return nullptr;
    ExpressionPtr out = make_expression(Expression::Kind::logical_not, at);
    out->operands.push_back(std::move(operand));
    return out;
}

ExpressionPtr ExpressionParser::comparison() {
    const uint32_t at = current().at;
    ExpressionPtr first = sum();
    if (!first) return nullptr;
    ExpressionPtr out;
    for (;;) {
        Operator op;
        if (is_operator(current(), {"==", "!=", "<", "<=", ">", ">="})) {
            op = operator_of(take().value);
        } else if (take_word("in")) {
            op = Operator::in;
        } else if (current().is_name("not") && ahead().is_name("in")) {
            take();
            take();
            op = Operator::not_in;
        } else {
            break;
        }
        if (!out) {
            out = make_expression(Expression::Kind::comparison, at);
            out->operands.push_back(std::move(first));
        }
        out->operators.push_back(op);
        out->operands.push_back(sum());
        if (!out->operands.back()) return nullptr;
    }
    return out ? std::move(out) : std::move(first);
}

ExpressionPtr ExpressionParser::sum() {
    const uint32_t at = current().at;
    ExpressionPtr first = joined();
    if (!first || !is_operator(current(), {"+", "-"})) return first;
    ExpressionPtr out = make_expression(Expression::Kind::arithmetic, at);
    out->operands.push_back(std::move(first));
    while (is_operator(current(), {"+", "-"})) {
        out->operators.push_back(operator_of(take().value));
        out->operands.push_back(joined());
        if (!out->operands.back()) return nullptr;
    }
    return out;
}

ExpressionPtr ExpressionParser::joined() {
    const uint32_t at = current().at;
    ExpressionPtr first = product();
    if (!first || !current().is("~")) return first;
    ExpressionPtr out = make_expression(Expression::Kind::join, at);
    out->operands.push_back(std::move(first));
    while (take_symbol("~")) {
        out->operands.push_back(product());
        if (!out->operands.back()) return nullptr;
    }
    return out;
}

ExpressionPtr ExpressionParser::product() {
    const uint32_t at = current().at;
    ExpressionPtr first = power();
    if (!first || !is_operator(current(), {"*", "/", "//", "%"})) return first;
    ExpressionPtr out = make_expression(Expression::Kind::arithmetic, at);
    out->operands.push_back(std::move(first));
    while (is_operator(current(), {"*", "/", "//", "%"})) {
        out->operators.push_back(operator_of(take().value));
        out->operands.push_back(power());
        if (!out->operands.back()) return nullptr;
    }
    return out;
}

// Jinja's ** binds to the left, unlike Python's.
ExpressionPtr ExpressionParser::power() {
    const uint32_t at = current().at;
    ExpressionPtr first = unary(true);
    if (!first || !current().is("**")) return first;
    ExpressionPtr out = make_expression(Expression::Kind::arithmetic, at);
    out->operands.push_back(std::move(first));
    while (take_symbol("**")) {
        out->operators.push_back(Operator::power);
        out->operands.push_back(unary(true));
        if (!out->operands.back()) return nullptr;
    }
    return out;
}

ExpressionPtr ExpressionParser::unary(bool with_filters) {
    const uint32_t at = current().at;
    ExpressionPtr out;
    if (is_operator(current(), {"-", "+"})) {
        const bool minus = take().value == "-";
        Nested nested(*this);
        ExpressionPtr operand = nested.refused() ? nullptr : unary(false);
        if (!operand) return nullptr;
        out = make_expression(minus ? Expression::Kind::negative : Expression::Kind::positive, at);
        out->operands.push_back(std::move(operand));
    } else {
        out = primary();
    }
    if (!out || !postfixes(out) || (with_filters && !filters_and_tests(out))) return nullptr;
    return out;
}

ExpressionPtr ExpressionParser::primary() {
    const Token token = current();
    const uint32_t at = token.at;
    ExpressionPtr out = make_expression(Expression::Kind::constant, at);
    if (token.type == TokenType::name) {
        take();
        if (!is_constant_word(token.value)) {
            out->kind = Expression::Kind::name;
            out->name = token.value;
        } else if (token.value == "none" || token.value == "None") {
            out->constant = Item::none();
        } else {
            out->constant = Item::of(token.value == "true" || token.value == "True");
        }
        return out;
    }
    if (token.type == TokenType::string) {
        take();
        out->constant = Item::of(token.value);
        if (current().type == TokenType::string) {
            std::string& joined = program_.strings.emplace_back(token.value);
            while (current().type == TokenType::string) joined += take().value;
            out->constant = Item::of(std::string_view(joined));
        }
        return out;
    }
    if (token.type == TokenType::integer || token.type == TokenType::real) {
        take();
        out->constant = token.type == TokenType::integer ? Item::of(token.integer) : Item::of(token.real);
        return out;
    }
    Nested nested(*this);
    if (nested.refused()) return nullptr;
    if (take_symbol("(")) {
        out = tuple({.parenthesized = true});
        return out && expect_symbol(")") ? std::move(out) : nullptr;
    }
    if (token.is("[")) return list();
    if (token.is("{")) return dict();
    unexpected("an expression");
    return nullptr;
}

ExpressionPtr ExpressionParser::list() {
    ExpressionPtr out = make_expression(Expression::Kind::list, take().at);
    while (!current().is("]")) {
        if (!out->operands.empty() && !expect_symbol(",")) return nullptr;
        if (current().is("]")) break;
        out->operands.push_back(expression());
        if (!out->operands.back()) return nullptr;
    }
    take();
    return out;
}

ExpressionPtr ExpressionParser::dict() {
    ExpressionPtr out = make_expression(Expression::Kind::dict, take().at);
    while (!current().is("}")) {
        if (!out->operands.empty() && !expect_symbol(",")) return nullptr;
        if (current().is("}")) break;
        out->operands.push_back(expression());
        if (!out->operands.back() || !expect_symbol(":")) return nullptr;
        out->operands.push_back(expression());
        if (!out->operands.back()) return nullptr;
    }
    take();
    return out;
}

Suffix& ExpressionParser::add_suffix(ExpressionPtr& base, Suffix::Kind kind, uint32_t at) {
    if (base->kind != Expression::Kind::suffixed) {
        ExpressionPtr out = make_expression(Expression::Kind::suffixed, base->at);
        out->operands.push_back(std::move(base));
        base = std::move(out);
    }
    Suffix& suffix = base->suffixes.emplace_back();
    suffix.kind = kind;
    suffix.at = at;
    return suffix;
}

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
