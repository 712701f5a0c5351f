// ExpressionParser: the grammar of expressions, over a vector of tokens. The statement parser derives from it.
#pragma once

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

#include <fmt/format.h>

#include <optional>
#include <string>
#include <vector>

namespace nibble::text::jinja {

// A parse function returns null (or false) after fail(); the first failure is kept.
class ExpressionParser {
public:
    ExpressionParser(Program& program, int max_depth)
        : program_(program), max_depth_(max_depth), lexer_(program.source, program.name, program.strings) {
        current_ = lexer_.next();
        ahead_ = lexer_.next();
    }

protected:
    // Which words end a tuple besides closing tags and brackets.
    struct TupleRules {
        bool conditional = true;  // a if b else c is allowed
        std::string_view end_word = {};
        bool parenthesized = false;  // () is an empty tuple
    };

    const Token& current() const { return current_; }
    const Token& ahead() const { return ahead_; }
    Token take();  // the current token; the next one becomes current
    bool take_symbol(std::string_view symbol);
    bool take_word(std::string_view word);
    bool expect_symbol(std::string_view symbol);
    bool expect_word(std::string_view word);
    bool expect(TokenType type, std::string_view what);
    bool fail(uint32_t at, std::string_view message);
    bool unexpected(std::string_view wanted);
    bool read_to_the_end() { return !lexer_.failure() || fail(0, {}); }

    ExpressionPtr expression() { return conditional(); }
    ExpressionPtr tuple(const TupleRules& rules);
    bool filters(std::vector<Suffix>& out, bool first_without_pipe);
    // An assignment target; `attributes` allows name.attribute.
    bool target(Target& out, std::string_view end_word, bool attributes);
    bool target_name(std::string_view& out);  // one plain name

    // Counts the nesting of brackets, bodies and operands while it lives.
    class Nested {
    public:
        explicit Nested(ExpressionParser& parser) : parser_(parser) {
            if (++parser_.depth_ > parser_.max_depth_)
                parser_.fail(parser_.current().at, fmt::format("nested over {} deep", parser_.max_depth_));
        }
        ~Nested() { parser_.depth_--; }
        Nested(const Nested&) = delete;
        Nested& operator=(const Nested&) = delete;
        bool refused() const { return parser_.error_.has_value(); }

    private:
        ExpressionParser& parser_;
    };

    Program& program_;
    std::optional<Error> error_;

private:
    ExpressionPtr conditional();
    ExpressionPtr disjunction();
    ExpressionPtr conjunction();
    ExpressionPtr negation();
    ExpressionPtr comparison();
    ExpressionPtr sum();
    ExpressionPtr joined();
    ExpressionPtr product();
    ExpressionPtr power();
    ExpressionPtr unary(bool with_filters);
    ExpressionPtr primary();
    ExpressionPtr list();
    ExpressionPtr dict();
    bool postfixes(ExpressionPtr& base);
    bool filters_and_tests(ExpressionPtr& base);
    bool subscript(Suffix& out);
    bool subscript_part(Suffix& out);
    bool test(Suffix& out);
    bool filter(Suffix& out);
    bool call_arguments(CallArguments& out);
    bool target_part(Target& out, bool attributes);
    bool to_target(const Expression& expression, Target& out);
    Suffix& add_suffix(ExpressionPtr& base, Suffix::Kind kind, uint32_t at);

    int max_depth_;
    int depth_ = 0;
    Lexer lexer_;
    Token current_, ahead_;
};

ExpressionPtr make_expression(Expression::Kind kind, uint32_t at);
bool is_constant_word(std::string_view name);  // true, none, … in both spellings

}  // namespace nibble::text::jinja
