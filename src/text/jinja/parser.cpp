#include "text/jinja/parser.h"

#include "text/jinja/expression_parser.h"
#include "text/jinja/resolver.h"
#include "text/jinja/unicode.h"

#include <algorithm>
#include <initializer_list>

namespace nibble::text::jinja {
namespace {

using Words = std::initializer_list<std::string_view>;

class Parser : public ExpressionParser {
public:
    using ExpressionParser::ExpressionParser;

    Result<void> run() {
        // The end that the parser saw may be where the lexer gave up.
        if (!body({}, program_.body) || !read_to_the_end()) return std::move(*error_);
        return {};
    }

private:
    // Statements up to a block that begins with one of `ends` (which is left as the current token), or to the end of
    // the template when there are none.
    bool body(Words ends, Body& out) {
        Nested nested(*this);
        if (nested.refused()) return false;
        for (;;) {
            const Token token = current();
            switch (token.type) {
                case TokenType::text:
                    take();
                    out.push_back({token.at, Text{token.value}});
                    break;
                case TokenType::variable_begin:
                    take();
                    if (!output(token.at, out) || !expect(TokenType::variable_end, "'}}'")) return false;
                    break;
                case TokenType::block_begin: {
                    take();
                    const Token& word = current();
                    if (word.type == TokenType::name && std::find(ends.begin(), ends.end(), word.value) != ends.end())
                        return true;
                    if (!statement(out) || !expect(TokenType::block_end, "'%}'")) return false;
                    break;
                }
                default:
                    if (ends.size() == 0) return true;
                    return fail(token.at,
                                fmt::format("unexpected end of template, {{% {} %}} is missing", *(ends.end() - 1)));
            }
        }
    }

    // The body of a statement, from the end of its tag to its closing word.
    bool block(Words ends, Body& out) {
        take_symbol(":");
        return expect(TokenType::block_end, "'%}'") && body(ends, out);
    }
    bool closed_block(std::string_view end, Body& out) { return block({end}, out) && expect_word(end); }

    bool output(uint32_t at, Body& out) {
        ExpressionPtr value = tuple({});
        if (!value) return false;
        out.push_back({at, Output{std::move(value)}});
        return true;
    }

    bool statement(Body& out) {
        const Token word = current();
        if (word.type != TokenType::name) return unexpected("the name of a tag");
        struct Row {
            std::string_view word;
            bool (Parser::*parse)(uint32_t, Body&);
        };
        constexpr Row kRows[] = {
            {"if", &Parser::if_statement},
            {"for", &Parser::for_statement},
            {"set", &Parser::set_statement},
            {"macro", &Parser::macro_statement},
            {"call", &Parser::call_statement},
            {"filter", &Parser::filter_statement},
            {"with", &Parser::with_statement},
            {"generation", &Parser::generation_statement},
            {"print", &Parser::print_statement},
            {"break", &Parser::break_statement},
            {"continue", &Parser::continue_statement},
        };
        for (const Row& row : kRows) {
            if (row.word != word.value) continue;
            take();
            return (this->*row.parse)(word.at, out);
        }
        for (std::string_view known : {"extends", "block", "include", "import", "from", "autoescape"})
            if (word.value == known)
                return fail(word.at, fmt::format("{{% {} %}} is not supported: a chat template is one file", known));
        return fail(word.at, fmt::format("unknown tag '{}'", word.value));
    }

    bool if_statement(uint32_t at, Body& out) {
        If node;
        do {
            Branch branch;
            branch.condition = tuple({.conditional = false});
            if (!branch.condition || !block({"elif", "else", "endif"}, branch.body)) return false;
            node.branches.push_back(std::move(branch));
        } while (take_word("elif"));
        if (take_word("else") && !block({"endif"}, node.otherwise)) return false;
        if (!expect_word("endif")) return false;
        out.push_back({at, std::move(node)});
        return true;
    }

    bool for_statement(uint32_t at, Body& out) {
        For node;
        if (!target(node.target, "in", false) || !expect_word("in")) return false;
        node.source = tuple({.conditional = false, .end_word = "recursive"});
        if (!node.source) return false;
        if (take_word("if")) {
            node.filter = std::make_unique<LoopFilter>();
            node.filter->condition = expression();
            node.filter->target = node.target;
            if (!node.filter->condition) return false;
        }
        if (current().is_name("recursive")) return fail(current().at, "recursive loops are not supported");
        if (!block({"endfor", "else"}, node.body)) return false;
        if (take_word("else") && !block({"endfor"}, node.otherwise)) return false;
        if (!expect_word("endfor")) return false;
        out.push_back({at, std::move(node)});
        return true;
    }

    bool set_statement(uint32_t at, Body& out) {
        Target to;
        if (!target(to, {}, true)) return false;
        if (take_symbol("=")) {
            Set node{std::move(to), tuple({})};
            if (!node.value) return false;
            out.push_back({at, std::move(node)});
            return true;
        }
        SetBlock node;
        node.target = std::move(to);
        if (!filters(node.filters, false) || !closed_block("endset", node.body)) return false;
        out.push_back({at, std::move(node)});
        return true;
    }

    bool parameters(MacroDefinition& macro) {
        if (!expect_symbol("(")) return false;
        while (!current().is(")")) {
            if (!macro.parameters.empty() && !expect_symbol(",")) return false;
            MacroParameter parameter{.at = current().at};
            if (!target_name(parameter.name)) return false;
            for (const MacroParameter& other : macro.parameters)
                if (other.name == parameter.name)
                    return fail(parameter.at, fmt::format("parameter '{}' repeated", parameter.name));
            if (take_symbol("=")) {
                parameter.fallback = expression();
                if (!parameter.fallback) return false;
            } else if (!macro.parameters.empty() && macro.parameters.back().fallback) {
                return fail(parameter.at, "a parameter without default follows one with a default");
            }
            macro.parameters.push_back(std::move(parameter));
        }
        take();
        return true;
    }

    bool macro_statement(uint32_t at, Body& out) {
        MacroStatement node;
        if (!target_name(node.macro.name) || !parameters(node.macro) || !closed_block("endmacro", node.macro.body))
            return false;
        out.push_back({at, std::move(node)});
        return true;
    }

    bool call_statement(uint32_t at, Body& out) {
        CallBlock node;
        if (current().is("(") && !parameters(node.caller)) return false;
        node.call = expression();
        if (!node.call) return false;
        if (node.call->kind != Expression::Kind::suffixed || node.call->suffixes.back().kind != Suffix::Kind::call)
            return fail(node.call->at, "a call expected");
        if (!closed_block("endcall", node.caller.body)) return false;
        out.push_back({at, std::move(node)});
        return true;
    }

    bool generation_statement(uint32_t at, Body& out) {
        CallBlock node;
        if (!closed_block("endgeneration", node.caller.body)) return false;
        out.push_back({at, std::move(node)});
        return true;
    }

    bool filter_statement(uint32_t at, Body& out) {
        FilterBlock node;
        if (!filters(node.filters, true) || !closed_block("endfilter", node.body)) return false;
        out.push_back({at, std::move(node)});
        return true;
    }

    bool with_statement(uint32_t at, Body& out) {
        With node;
        while (current().type != TokenType::block_end) {
            if (!node.targets.empty() && !expect_symbol(",")) return false;
            if (!target(node.targets.emplace_back(), {}, false) || !expect_symbol("=")) return false;
            node.values.push_back(expression());
            if (!node.values.back()) return false;
        }
        if (!closed_block("endwith", node.body)) return false;
        out.push_back({at, std::move(node)});
        return true;
    }

    bool print_statement(uint32_t at, Body& out) {
        for (bool first = true; current().type != TokenType::block_end; first = false) {
            if (!first && !expect_symbol(",")) return false;
            ExpressionPtr value = expression();
            if (!value) return false;
            out.push_back({at, Output{std::move(value)}});
        }
        return true;
    }

    bool break_statement(uint32_t at, Body& out) {
        out.push_back({at, Break{}});
        return true;
    }
    bool continue_statement(uint32_t at, Body& out) {
        out.push_back({at, Continue{}});
        return true;
    }
};

}  // namespace

Result<std::shared_ptr<const Program>> parse(std::string_view source, std::string_view name,
                                             const TemplateLimits& limits) {
    if (source.size() > UINT32_MAX / 2)
        return error(ErrorCode::model_invalid, "{}: a template of {} bytes is too large", name, source.size());
    if (!valid_utf8(source)) return error(ErrorCode::model_invalid, "{}: the template is no UTF-8 text", name);
    auto program = std::make_shared<Program>();
    program->name = name;
    program->source = normalize_source(source);
    TRY_VOID(Parser(*program, limits.depth).run());
    TRY_VOID(resolve(*program));
    return std::shared_ptr<const Program>(std::move(program));
}

}  // namespace nibble::text::jinja
