#include "text/tokenizer/regex.h"

#include "text/tokenizer/pattern.h"
#include "text/tokenizer/sample_tokenizers.h"

#include <gmock/gmock.h>

#include <ctime>

namespace nibble::text {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> matches(const Pattern& pattern, std::string_view text) {
    Pattern::Matches found(pattern);
    found.start(text);
    std::vector<std::string> out;
    size_t begin = 0, end = 0;
    while (found.next(begin, end)) out.emplace_back(text.substr(begin, end - begin));
    return out;
}

std::vector<std::string> matches(std::string_view pattern, std::string_view text) {
    auto compiled = Pattern::interpreted(pattern);
    if (!compiled) return {"refused: " + compiled.error().message};
    return matches(*compiled, text);
}

TEST(Regex, AlternativesAreTriedInOrder) {
    EXPECT_THAT(matches("a|ab|abc", "abc"), ElementsAre("a"));
    EXPECT_THAT(matches("(a|ab)(c|bcd)", "abcd"), ElementsAre("abcd"));
    EXPECT_THAT(matches("(?:a|ab)c", "abc abac"), ElementsAre("abc", "ac"));
}

TEST(Regex, QuantifiersTakeMostLeastOrAll) {
    EXPECT_THAT(matches("a+", "aaab"), ElementsAre("aaa"));
    EXPECT_THAT(matches("a+?", "aaa"), ElementsAre("a", "a", "a"));
    EXPECT_THAT(matches("a{2,3}", "aaaaa"), ElementsAre("aaa", "aa"));
    EXPECT_THAT(matches("a{2}?b", "aab b"), ElementsAre("aab", "b"));  // Ruby: {n}? may be left out
    EXPECT_THAT(matches("a{,2}b", "aaab"), ElementsAre("aab"));
    EXPECT_THAT(matches("a++a", "aaa"), ElementsAre());
    EXPECT_THAT(matches("a{1,2}+b", "aaaab"), ElementsAre("aaaab"));  // Ruby: + repeats the interval
    EXPECT_THAT(matches("x{a}", "x{a}"), ElementsAre("x{a}"));
    EXPECT_THAT(matches("(?>a+)a|b", "aab"), ElementsAre("b"));
}

TEST(Regex, EmptyMatchesAreFoundBetweenMatchesOnly) {
    EXPECT_THAT(matches("x*", "axb"), ElementsAre("", "x", ""));
    EXPECT_THAT(matches("", "é"), ElementsAre("", ""));
}

TEST(Regex, ClassesNestIntersectAndKnowUnicode) {
    EXPECT_THAT(matches("[^(\\s|[.,])]+", "a (b|c).d"), ElementsAre("a", "b", "c", "d"));
    EXPECT_THAT(matches("[a-z&&[^aeiou]]+", "hello"), ElementsAre("h", "ll"));
    EXPECT_THAT(matches("[]a]+", "a]b"), ElementsAre("a]"));
    EXPECT_THAT(matches("[a\\-z]+|[+--]", "a-z,"), ElementsAre("a-z", ","));
    EXPECT_THAT(matches("\\p{Han}+|\\p{^L}|[[:upper:]]", "字x1É"), ElementsAre("字", "1", "É"));
    EXPECT_THAT(matches("\\P{L}|\\h", "1aé"), ElementsAre("1", "a"));
    EXPECT_THAT(matches("(?i)k|ſ", "\u212AKkSsſ"), ElementsAre("\u212A", "K", "k", "S", "s", "ſ"));
    EXPECT_THAT(matches("a(?i)b|c", "aB C b"), ElementsAre("aB"));
    EXPECT_THAT(matches("a(?i)b|c", "aC"), ElementsAre("aC"));
}

TEST(Regex, LooksAheadAndBehind) {
    EXPECT_THAT(matches("\\s+(?!\\S)|\\s+", "a  b "), ElementsAre(" ", " ", " "));
    EXPECT_THAT(matches("(?<=a)b|(?<!a)c", "abcac"), ElementsAre("b", "c"));
    EXPECT_THAT(matches("\\d{1,3}(?=(?:\\d{3})*\\b)", "1234567"), ElementsAre("1", "234", "567"));
    EXPECT_THAT(matches("a(?!b*c)", "abbc abb"), ElementsAre("a"));
    EXPECT_THAT(matches("^.|.$|\\bx\\b", "ab\ncx x\n"), ElementsAre("a", "b", "c", "x"));
    EXPECT_THAT(matches("[^\\p{M}]x", "a\u0301x\u0301yx"), ElementsAre("yx"));
    EXPECT_THAT(matches("\\A\\w|\\w\\z|\\n\\Z", "a b\nc"), ElementsAre("a", "c"));
}

TEST(Regex, WhatIsNotSupportedIsRefusedWithItsPlace) {
    for (const char* pattern : {"(a)\\1", "(?<n>a)\\k<n>", "\\G", "a\\K", "\\X", "(?<=ab)c", "(?>ab|a)c", "(?:ab)++",
                                "(?(1)a)", "(?~ab)", "\\p{NoSuchScript}", "a{2000}", "(?x)a", "(?=a)*", "\\xFF"}) {
        auto compiled = Pattern::interpreted(pattern);
        ASSERT_FALSE(compiled) << pattern;
        EXPECT_EQ(compiled.error().code, ErrorCode::unsupported) << pattern;
        EXPECT_THAT(compiled.error().message, HasSubstr("byte")) << pattern;
    }
    for (const char* pattern : {"(", ")", "[", "[a", "a|*", "\\", "(?", "[z-a]", "\\p{L", "[]", "\\x{110000}", "(?#"}) {
        auto compiled = Pattern::interpreted(pattern);
        ASSERT_FALSE(compiled) << pattern;
        EXPECT_THAT(compiled.error().message, HasSubstr("byte")) << pattern;
    }
    std::string large = "a{900}";
    for (int i = 0; i < 3; i++) large = "(?:" + large + "){900}";
    EXPECT_EQ(Pattern::interpreted(large).error().code, ErrorCode::unsupported);
}

// Patterns on which backtracking is exponential or quadratic.
TEST(Regex, NoPatternAndNoTextTakesMoreThanLinearTime) {
    const auto seconds = [](const Pattern& pattern, const std::string& text) {
        timespec begin{}, end{};
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
        matches(pattern, text);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
        return static_cast<double>(end.tv_sec - begin.tv_sec) + static_cast<double>(end.tv_nsec - begin.tv_nsec) * 1e-9;
    };
    for (const char* source : {"(a*)*b", "(a|aa)+b", "(a|a)*c", "a*b", "a++b", "(?:a+)+$x", "a(?=a*b)", "a(?!a*b)x",
                               "(?:a?){30}b", "[^b]+?b", "a{1,200}b"}) {
        auto pattern = Pattern::interpreted(source);
        ASSERT_TRUE(pattern) << source;
        const std::string text(1 << 15, 'a');
        const double once = std::min(seconds(*pattern, text), seconds(*pattern, text));
        const std::string four = text + text + text + text;
        EXPECT_LT(std::min(seconds(*pattern, four), seconds(*pattern, four)), 4 * 2.5 * once + 2e-3) << source;
    }
}

TEST(SplitScanner, FindsWhatTheInterpreterFinds) {
    const std::vector<std::string> letters = {
        " ?\\p{L}+|",
        "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|",
        "[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|",
        "[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|",
        "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|"
        "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|",
        "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+"
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
        "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*"
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"};
    const std::vector<std::string> contractions = {"", "'s|'t|'re|'ve|'m|'ll|'d|", "(?i:'s|'t|'re|'ve|'m|'ll|'d)|",
                                                   "'(?i:[sdmt]|ll|ve|re)|"};
    const std::vector<std::string> digits = {" ?\\p{N}+|", "\\p{N}+|", "\\p{N}|", "\\p{N}{1,2}|", "\\p{N}{1,3}|"};
    const std::vector<std::string> others = {" ?[^\\s\\p{L}\\p{N}]+", " ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*",
                                             " ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*", " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*"};
    const std::vector<std::string> ends = {"", "|\\s*[\\r\\n]+", "|\\s*[\\r\\n]"};
    std::mt19937 random(3);
    for (int round = 0; round < 250; round++) {
        const auto any = [&](const std::vector<std::string>& of) { return of[random() % of.size()]; };
        const std::string source =
            any(contractions) + any(letters) + any(digits) + any(others) + any(ends) + "|\\s+(?!\\S)|\\s+";
        auto known = Pattern::regex(source);
        auto interpreted = Pattern::interpreted(source);
        ASSERT_TRUE(known && interpreted) << source;
        ASSERT_NE(known->scanner(), nullptr) << source;
        for (int i = 0; i < 40; i++) {
            const std::string text = sample::random_text(random, random() % 30);
            EXPECT_EQ(matches(*known, text), matches(*interpreted, text))
                << source << " on " << sample::json_string(text);
        }
    }
}

TEST(SplitScanner, LeavesUnknownPatternsToTheInterpreter) {
    for (const char* source : {"\\p{L}+|\\s+", " ?\\p{L}+|\\p{N}{1,4}| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
                               " ?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+|x"}) {
        EXPECT_EQ(Pattern::regex(source)->scanner(), nullptr) << source;
    }
}

}  // namespace
}  // namespace nibble::text
