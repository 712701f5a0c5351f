#include "text/jinja/lexer.h"

#include "text/jinja/unicode.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace nibble::text::jinja {
namespace {

constexpr std::string_view kSymbols[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                         "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};

bool is_digit_of(char c, int base) {
    if (base <= 10) return c >= '0' && c < '0' + base;
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

int hex_value(char c) {
    return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

}  // namespace

Token Lexer::next() {
    while (ready_.empty() && !failure_ && at_ < source_.size()) {
        if (tag_end_ == TokenType::text)
            text();
        else
            inside_tag();
    }
    if (ready_.empty() && !failure_ && tag_end_ != TokenType::text)
        fail(tag_begin_, tag_end_ == TokenType::variable_end ? "missing '}}'" : "missing '%}'");
    if (ready_.empty()) return {.type = TokenType::end, .at = static_cast<uint32_t>(source_.size())};
    const Token token = ready_.front();
    ready_.pop_front();
    return token;
}

bool Lexer::fail(size_t at, std::string_view message) {
    if (!failure_) {
        const Position p = position_of(source_, at);
        failure_ = error(ErrorCode::model_invalid, "{}:{}:{}: {}", name_, p.line, p.column, message);
    }
    return false;
}

void Lexer::add(TokenType type, size_t at, std::string_view value) {
    ready_.push_back({.type = type, .at = static_cast<uint32_t>(at), .value = value});
}

bool Lexer::take(std::string_view s) {
    if (!source_.substr(at_).starts_with(s)) return false;
    at_ += s.size();
    return true;
}

size_t Lexer::behind_space(size_t at) const {
    while (at < source_.size()) {
        size_t next = at;
        if (!is_space(next_code_point(source_, next))) break;
        at = next;
    }
    return at;
}

// Template data up to the next tag, and the tag's beginning. `sign` behind the tag's opening decides what of the
// white space before it goes: '-' all, '+' none, else (not for {{) the indentation of its line.
void Lexer::text() {
    const size_t begin = at_;
    size_t open = begin;
    for (;; open++) {
        open = std::min(source_.find('{', open), source_.size());
        if (open + 1 >= source_.size()) {
            open = source_.size();
            break;
        }
        const char c = source_[open + 1];
        if (c == '%' || c == '{' || c == '#') break;
    }
    if (open == source_.size()) {
        data(begin, open, '+', false);
        at_ = open;
        return;
    }
    const char kind = source_[open + 1];
    at_ = open + 2;
    const char sign = peek() == '-' || peek() == '+' ? source_[at_++] : '\0';
    data(begin, open, sign, kind != '{');
    line_start_ = false;
    if (kind == '#') {
        comment(open);
    } else if (kind == '{') {
        add(TokenType::variable_begin, open, {});
        tag_end_ = TokenType::variable_end;
        tag_begin_ = open;
    } else if (!raw(open)) {
        add(TokenType::block_begin, open, {});
        tag_end_ = TokenType::block_end;
        tag_begin_ = open;
    }
}

void Lexer::data(size_t begin, size_t end, char sign, bool strip_indentation) {
    std::string_view text = source_.substr(begin, end - begin);
    if (sign == '-') {
        while (!text.empty()) {
            size_t start = text.size() - 1;
            while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xc0) == 0x80) start--;
            size_t next = start;
            if (!is_space(next_code_point(text, next))) break;
            text = text.substr(0, start);
        }
    } else if (sign != '+' && strip_indentation) {
        const size_t line = text.rfind('\n') + 1;  // npos + 1 is 0
        if ((line > 0 || line_start_) && behind_space(begin + line) >= end) text = text.substr(0, line);
    }
    if (!text.empty()) add(TokenType::text, begin, text);
}

// The white space that a closing tag takes with it: all behind '-', one newline (trim_blocks) without a sign.
void Lexer::after_close(char sign, bool trim_newline) {
    if (sign == '-')
        skip_space();
    else if (sign == '\0' && trim_newline && peek() == '\n')
        at_++;
    line_start_ = at_ > 0 && source_[at_ - 1] == '\n';
}

void Lexer::comment(size_t open) {
    const size_t close = source_.find("#}", at_);
    if (close == std::string_view::npos) {
        fail(open, "missing end of comment tag");
        return;
    }
    const char before = close > at_ ? source_[close - 1] : '\0';
    at_ = close + 2;
    after_close(before == '-' || before == '+' ? before : '\0', true);
}

// {% raw %}…{% endraw %}. Returns false, with nothing consumed, when the block is another one.
bool Lexer::raw(size_t open) {
    const size_t begin = at_;
    skip_space();
    if (!take("raw")) {
        at_ = begin;
        return false;
    }
    skip_space();
    if (take("-%}")) {
        skip_space();
    } else if (!take("%}")) {
        at_ = begin;
        return false;
    }
    line_start_ = source_[at_ - 1] == '\n';
    const size_t body = at_;
    for (size_t tag = body; (tag = source_.find("{%", tag)) != std::string_view::npos; tag += 2) {
        at_ = tag + 2;
        const char opening = peek() == '-' || peek() == '+' ? source_[at_++] : '\0';
        skip_space();
        if (!take("endraw")) continue;
        skip_space();
        const char closing = peek() == '-' || peek() == '+' ? source_[at_++] : '\0';
        if (!take("%}")) continue;
        data(body, tag, opening, true);
        after_close(closing, true);
        return true;
    }
    fail(open, "missing end of raw directive");
    return true;
}

// The end of the tag, when it comes next. Inside brackets it is none.
bool Lexer::close_tag() {
    if (!brackets_.empty()) return false;
    const size_t begin = at_;
    const bool block = tag_end_ == TokenType::block_end;
    char sign = '\0';
    if (peek() == '-' || (peek() == '+' && block)) sign = source_[at_++];
    if (!take(block ? "%}" : "}}")) {
        at_ = begin;
        return false;
    }
    add(tag_end_, begin, {});
    tag_end_ = TokenType::text;
    after_close(sign, block);
    return true;
}

void Lexer::inside_tag() {
    skip_space();
    if (at_ < source_.size() && !close_tag()) token();
}

bool Lexer::token() {
    const size_t begin = at_;
    const char c = peek();
    if (c >= '0' && c <= '9') return number();
    if (c == '\'' || c == '"') return string(c);
    size_t next = at_;
    if (is_word(next_code_point(source_, next)) || !(static_cast<unsigned char>(c) < 0x80)) return identifier();
    for (std::string_view symbol : kSymbols) {
        if (!take(symbol)) continue;
        add(TokenType::symbol, begin, source_.substr(begin, symbol.size()));
        if (c == '(' || c == '[' || c == '{') {
            brackets_ += c == '(' ? ')' : c == '[' ? ']' : '}';
        } else if (c == ')' || c == ']' || c == '}') {
            if (brackets_.empty()) return fail(begin, fmt::format("unexpected '{}'", c));
            if (brackets_.back() != c)
                return fail(begin, fmt::format("unexpected '{}', expected '{}'", c, brackets_.back()));
            brackets_.pop_back();
        }
        return true;
    }
    return fail(begin, fmt::format("unexpected character '{}'", c));
}

bool Lexer::identifier() {
    const size_t begin = at_;
    while (at_ < source_.size()) {
        size_t next = at_;
        const char32_t c = next_code_point(source_, next);
        if (!is_word(c) && c < 0x80) break;
        if (is_space(c)) break;
        at_ = next;
    }
    const std::string_view name = source_.substr(begin, at_ - begin);
    if (!is_identifier(name)) return fail(begin, "invalid character in identifier");
    add(TokenType::name, begin, name);
    return true;
}

// Digits of a base, with single underscores between them.
size_t Lexer::behind_digits(size_t at, int base) const {
    while (at < source_.size()) {
        if (is_digit_of(source_[at], base))
            at++;
        else if (source_[at] == '_' && at + 1 < source_.size() && is_digit_of(source_[at + 1], base))
            at++;
        else
            break;
    }
    return at;
}

bool Lexer::number() {
    const size_t begin = at_;
    const bool after_dot = begin > 0 && source_[begin - 1] == '.';
    auto digit_at = [&](size_t at) { return at < source_.size() && is_digit_of(source_[at], 10); };
    size_t end = behind_digits(begin, 10);
    bool real = false;
    if (!after_dot) {
        size_t at = end;
        if (at < source_.size() && source_[at] == '.' && digit_at(at + 1)) {
            at = behind_digits(at + 1, 10);
            real = true;
            end = at;
        }
        if (at < source_.size() && (source_[at] == 'e' || source_[at] == 'E')) {
            at++;
            if (at < source_.size() && (source_[at] == '+' || source_[at] == '-')) at++;
            if (digit_at(at)) {
                end = behind_digits(at, 10);
                real = true;
            }
        }
    }
    int base = 10;
    size_t first = begin;
    if (!real && source_[begin] == '0') {
        const char mark = begin + 1 < source_.size() ? static_cast<char>(source_[begin + 1] | 0x20) : '\0';
        const int marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
        const size_t digits = marked ? behind_digits(begin + 2, marked) : begin + 2;
        if (marked && digits > begin + 2) {
            base = marked;
            first = begin + 2;
            end = digits;
        } else {
            // A decimal integer that begins with 0 is zeros only; what follows is another token.
            end = begin;
            while (end < source_.size() && (source_[end] == '0' || (source_[end] == '_' && end + 1 < source_.size() &&
                                                                    source_[end + 1] == '0')))
                end++;
        }
    }
    std::string digits(source_.substr(first, end - first));
    digits.erase(std::remove(digits.begin(), digits.end(), '_'), digits.end());
    Token token{.type = real ? TokenType::real : TokenType::integer, .at = static_cast<uint32_t>(begin)};
    token.value = source_.substr(begin, end - begin);
    const char* last = digits.data() + digits.size();
    const auto [stop, ec] = real ? std::from_chars(digits.data(), last, token.real)
                                 : std::from_chars(digits.data(), last, token.integer, base);
    if (ec != std::errc() || stop != last) return fail(begin, "a number that does not fit");
    at_ = end;
    ready_.push_back(token);
    return true;
}

bool Lexer::string(char quote) {
    const size_t begin = at_++;
    bool escaped = false;
    while (at_ < source_.size() && source_[at_] != quote) {
        if (source_[at_] == '\\') {
            escaped = true;
            at_++;
        }
        at_++;
    }
    if (at_ >= source_.size()) return fail(begin, "a string without its end");
    std::string_view value = source_.substr(begin + 1, at_ - begin - 1);
    at_++;
    if (escaped) {
        strings_.emplace_back();
        if (!unescape(begin + 1, value, strings_.back())) return false;
        value = strings_.back();
    }
    add(TokenType::string, begin, value);
    return true;
}

// Python's escapes of a str literal; an unknown one keeps its backslash.
bool Lexer::unescape(size_t where, std::string_view s, std::string& out) {
    for (size_t at = 0; at < s.size();) {
        if (s[at] != '\\') {
            out += s[at++];
            continue;
        }
        const size_t begin = at++;
        const char c = s[at++];  // string() saw a character behind every backslash
        switch (c) {
            case '\n':
                break;
            case '\\':
                out += '\\';
                break;
            case '\'':
                out += '\'';
                break;
            case '"':
                out += '"';
                break;
            case 'a':
                out += '\a';
                break;
            case 'b':
                out += '\b';
                break;
            case 'f':
                out += '\f';
                break;
            case 'n':
                out += '\n';
                break;
            case 'r':
                out += '\r';
                break;
            case 't':
                out += '\t';
                break;
            case 'v':
                out += '\v';
                break;
            case 'x':
            case 'u':
            case 'U': {
                const size_t n = c == 'x' ? 2 : c == 'u' ? 4 : 8;
                char32_t value = 0;
                for (size_t i = 0; i < n; i++, at++) {
                    if (at >= s.size() || !is_digit_of(s[at], 16))
                        return fail(where + begin, "truncated escape in a string");
                    value = value * 16 + static_cast<char32_t>(hex_value(s[at]));
                }
                if (value > 0x10ffff) return fail(where + begin, "illegal Unicode character in a string");
                append_utf8(out, value);
                break;
            }
            case 'N':
                return fail(where + begin, "\\N escapes in a string are not supported");
            default:
                if (is_digit_of(c, 8)) {
                    char32_t value = static_cast<char32_t>(c - '0');
                    for (int i = 0; i < 2 && at < s.size() && is_digit_of(s[at], 8); i++)
                        value = value * 8 + static_cast<char32_t>(s[at++] - '0');
                    append_utf8(out, value);
                    break;
                }
                out += '\\';
                if (static_cast<unsigned char>(c) < 0x80) {
                    out += c;
                } else {
                    // jinja2 turns the character itself into an escape first, whose backslash is then escaped.
                    at--;
                    const uint32_t v = static_cast<uint32_t>(next_code_point(s, at));
                    fmt::format_to(std::back_inserter(out),
                                   fmt::runtime(v < 0x100     ? "x{:02x}"
                                                : v < 0x10000 ? "u{:04x}"
                                                              : "U{:08x}"),
                                   v);
                }
        }
    }
    return true;
}

Position position_of(std::string_view source, size_t at) {
    const std::string_view before = source.substr(0, at);
    const size_t line_begin = before.rfind('\n') + 1;
    return {static_cast<size_t>(std::count(before.begin(), before.end(), '\n')) + 1,
            code_points(before.substr(line_begin)) + 1};
}

std::string normalize_source(std::string_view source) {
    std::string out;
    out.reserve(source.size());
    for (size_t i = 0; i < source.size(); i++) {
        if (source[i] != '\r') {
            out += source[i];
        } else {
            out += '\n';
            if (i + 1 < source.size() && source[i + 1] == '\n') i++;
        }
    }
    if (out.ends_with('\n')) out.pop_back();
    return out;
}

}  // namespace nibble::text::jinja
