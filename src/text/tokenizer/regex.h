// Regex: Oniguruma's regular expressions (regex_syntax.h), matched in time linear in the text.
//
// Matching backtracks, so that alternatives have Perl's priorities, but remembers every (instruction, position) that
// failed: no text and no pattern makes it visit one twice. Memory: about a bit an instruction and byte of text, for the
// time of a search. A Regex is immutable and for any thread; a Search belongs to one.
#pragma once

#include "base/result.h"
#include "text/tokenizer/char_set.h"
#include "text/tokenizer/regex_syntax.h"

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace nibble::text {

class Regex {
public:
    // Errors: those of parse_regex; unsupported for a pattern that grows too large when its repeats are written out.
    static Result<Regex> compile(std::string_view pattern);

    // Finds the matches from left to right, not overlapping. An empty match right after a match is passed over.
    class Search {
    public:
        explicit Search(const Regex& regex);  // which outlives it
        void start(std::string_view text);    // valid UTF-8, under 4 GiB, which outlives the search in it
        bool next(size_t& begin, size_t& end);

    private:
        struct Choice {  // what to try when this way fails
            int32_t pc;
            uint32_t lowest;  // with `loop`: the positions from here to `position` are left to try, from the end
            uint32_t position;
            bool loop;
        };
        bool match_at(size_t start, size_t& end);
        bool holds(Assertion assertion, size_t at) const;
        bool looks(int32_t table, size_t at);
        bool seen(int32_t memo, size_t at);  // and is from now on
        void forget(size_t at);

        const Regex& regex_;
        std::string_view text_;
        size_t from_ = 0;
        size_t last_end_ = SIZE_MAX;  // of the match before
        bool done_ = false;
        std::vector<uint64_t> memo_;  // [position][memo]
        std::vector<Choice> choices_;
        std::vector<std::vector<bool>>
            looks_;  // per look-ahead body and position: it matches here. Filled on first use
    };

private:
    struct Instruction {
        enum class Op : uint8_t {
            set,         // one character of `set`
            loop,        // any number of `set`, most first
            possessive,  // as many of `set` as there are
            optional,    // one of `set` if there is one (possessive)
            split,       // `next`, else `other`
            jump,        // `next`
            assertion,
            behind,     // the character before is of `set`
            ahead,      // the character after is of `set`
            look_body,  // the look-ahead body `other` matches here
            match,
        } op;
        int32_t next = 0, other = 0;
        int32_t set = -1;
        int32_t memo = -1;
        Assertion assertion = Assertion::line_begin;
        bool negative = false;
    };
    struct Body {  // of a look-ahead that is more than one character: instructions [begin, end)
        int32_t begin, end;
    };
    class Compiler;

    std::vector<Instruction> program_;
    std::vector<CharMap> sets_;
    std::vector<Body> bodies_;
    int32_t memos_ = 0;
    std::vector<bool> first_bytes_;  // 256; empty when a match can begin with anything
};

}  // namespace nibble::text
