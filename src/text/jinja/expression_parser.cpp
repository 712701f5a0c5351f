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

}  // namespace

bool is_constant_word(std::string_view name) {
    return name == "true" || name == "True" || name == "false" || name == "False" || name == "none" || name == "None";
}

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

}  // namespace nibble::text::jinja
