// Pattern: what tokenizer.json splits and replaces by: a string, a regular expression, or a test of single characters.
//
// Immutable; any thread. A Matches belongs to one.
#pragma once

#include "base/result.h"
#include "text/tokenizer/regex.h"
#include "text/tokenizer/split_scanner.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace nibble::text {

class Pattern {
public:
    using CharTest = bool (*)(char32_t);
    struct Words {};  // \w+|[^\w\s]+ of the Whitespace pre-tokenizer, with its own idea of \w

    // Errors name what is supported; the caller names the field.
    static Result<Pattern> literal(std::string text);
    static Result<Pattern> regex(std::string_view source);  // known split patterns are scanned by hand
    static Pattern characters(CharTest test) { return Pattern(test); }
    static Pattern words() { return Pattern(Words{}); }
    static Pattern scanner(SplitScanner scanner) { return Pattern(std::move(scanner)); }

    // The same, interpreted even when it is known: for tests that compare the two.
    static Result<Pattern> interpreted(std::string_view source);

    const SplitScanner* scanner() const { return std::get_if<SplitScanner>(&what_); }
    const std::string* literal() const { return std::get_if<std::string>(&what_); }

    // The matches from left to right, not overlapping.
    class Matches {
    public:
        explicit Matches(const Pattern& pattern);
        void start(std::string_view text);  // valid UTF-8
        bool next(size_t& begin, size_t& end);

    private:
        const Pattern& pattern_;
        std::string_view text_;
        size_t at_ = 0;
        std::optional<Regex::Search> search_;
    };

private:
    using What = std::variant<std::string, SplitScanner, std::shared_ptr<const Regex>, CharTest, Words>;
    explicit Pattern(What what) : what_(std::move(what)) {}

    What what_;
};

}  // namespace nibble::text
