// The syntax of the regular expressions in tokenizer.json: Oniguruma's, in its Ruby flavour, read into a tree.
//
// What is left out is what cannot be matched in linear time or has no use for cutting text: back-references, calls,
// conditions, absent operators, \G \K \X, lookbehind longer than one character, atomic groups of more than one class.
#pragma once

#include "base/result.h"
#include "text/tokenizer/char_set.h"

#include <cstdint>
#include <string_view>
#include <vector>

namespace nibble::text {

enum class Assertion : uint8_t { line_begin, line_end, text_begin, text_end, text_end_or_newline, word, not_word };

struct RegexNode {
    enum class Kind : uint8_t { empty, set, sequence, choice, repeat, assertion, look_ahead, look_behind };
    enum class Greed : uint8_t { greedy, lazy, possessive };
    static constexpr int kUnlimited = -1;

    Kind kind = Kind::empty;
    std::vector<int> children = {};  // sequence, choice: in order; repeat, look_*: one
    int set = -1;                    // set: index into RegexTree::sets
    int min = 0, max = 0;            // repeat
    Greed greed = Greed::greedy;     // repeat; possessive only over a set
    Assertion assertion = Assertion::line_begin;
    bool negative = false;  // look_*
};

struct RegexTree {
    std::vector<RegexNode> nodes;
    std::vector<CharSet> sets;
    int root = 0;
};

bool is_regex_word(char32_t c);  // what \b stands at the edge of

// Errors: unsupported, or model_invalid for what no regular expression is; both with the place in the pattern.
Result<RegexTree> parse_regex(std::string_view pattern);

}  // namespace nibble::text
