// Lexer: a template's source as tokens, with trim_blocks and lstrip_blocks on and one trailing newline dropped, as
// Hugging Face renders chat templates. Linear in the source.
#pragma once

#include "base/result.h"

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

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

// Reads tokens one by one, so that a parser which gives up early has not read the rest. After the last one, and after a
// failure, it gives tokens of type end. The source is normalized; strings whose escapes had to be resolved are put into
// `strings`.
class Lexer {
public:
    Lexer(std::string_view source, std::string_view name, std::deque<std::string>& strings)
        : source_(source), name_(name), strings_(strings) {}
    Token next();
    // model_invalid, with line and column; `name` stands for the file.
    const std::optional<Error>& failure() const { return failure_; }

private:
    bool fail(size_t at, std::string_view message);
    void add(TokenType type, size_t at, std::string_view value);
    char peek(size_t ahead = 0) const { return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0'; }
    bool take(std::string_view s);
    size_t behind_space(size_t at) const;
    void skip_space() { at_ = behind_space(at_); }

    void text();
    void data(size_t begin, size_t end, char sign, bool strip_indentation);
    void after_close(char sign, bool trim_newline);
    void comment(size_t open);
    bool raw(size_t open);
    bool close_tag();
    void inside_tag();
    bool token();
    bool identifier();
    size_t behind_digits(size_t at, int base) const;
    bool number();
    bool string(char quote);
    bool unescape(size_t where, std::string_view s, std::string& out);

    std::string_view source_;
    std::string_view name_;
    std::deque<std::string>& strings_;
    std::deque<Token> ready_;
    size_t at_ = 0;
    bool line_start_ = true;               // nothing but a line end before the data that comes
    TokenType tag_end_ = TokenType::text;  // of the tag that is being read; text when there is none
    size_t tag_begin_ = 0;
    std::string brackets_;  // that are open in the tag, by how they close
    std::optional<Error> failure_;
};

}  // namespace nibble::text::jinja
