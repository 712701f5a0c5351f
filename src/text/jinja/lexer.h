// Lexer: template source to tokens, with trim_blocks and lstrip_blocks on and one trailing newline dropped, as Hugging
// Face renders chat templates. Linear in the source.
#pragma once

#include "base/result.h"

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::text::jinja {

enum class TokenType : uint8_t {
    text,  // template data
    variable_begin,
    variable_end,
    block_begin,
    block_end,
    name,
    string,
    integer,
    real,
    symbol,  // an operator or a bracket; `value` is how it is written
    end,
};

struct Token {
    TokenType type = TokenType::end;
    uint32_t at = 0;         // byte offset in the source
    std::string_view value;  // text, name, symbol; string: with its escapes resolved
    int64_t integer = 0;
    double real = 0;

    bool is(std::string_view symbol) const { return type == TokenType::symbol && value == symbol; }
    bool is_name(std::string_view name) const { return type == TokenType::name && value == name; }
};

// Where a byte of the source is, counted from 1.
struct Position {
    size_t line, column;
};
Position position_of(std::string_view source, size_t at);

// Line ends made "\n", the last one dropped.
std::string normalize_source(std::string_view source);

// The tokens of a normalized source, closed by one of type end. Strings whose escapes had to be resolved are put into
// `strings`. Errors: model_invalid, with line and column; `name` stands for the file.
Result<std::vector<Token>> tokenize(std::string_view source, std::string_view name, std::deque<std::string>& strings);

}  // namespace nibble::text::jinja
