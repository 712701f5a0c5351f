#include "text/tokenizer/regex_syntax.h"

#include "text/tokenizer/regex_properties.h"
#include "text/tokenizer/utf8.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>

namespace nibble::text {
namespace {

using Kind = RegexNode::Kind;
using Greed = RegexNode::Greed;

constexpr size_t kMaxPattern = 16384;  // bytes
constexpr int kMaxNesting = 24;        // groups and classes inside one another: the parser recurses as deep
constexpr int kMaxRepeat = 1000;
constexpr char32_t kLastCodePoint = 0x10FFFF;

// \w and \b count these as letters, [\w] and \p{Word} do not.
constexpr std::array<char32_t, 6> kWordOutsideClass = {0xB2, 0xB3, 0xB9, 0xBC, 0xBD, 0xBE};

class Parser {
public:
    explicit Parser(std::string_view pattern) : pattern_(pattern) {}

    Result<RegexTree> parse() {
        if (pattern_.size() > kMaxPattern) {
            return error(ErrorCode::unsupported, "the pattern has {} bytes, at most {} are supported", pattern_.size(),
                         kMaxPattern);
        }
        if (!utf8::is_valid(pattern_)) return error(ErrorCode::model_invalid, "the pattern is not UTF-8");
        TRY(tree_.root, choice(Options{}, 0));
        if (at_ < pattern_.size()) return invalid("')' without '('");
        return std::move(tree_);
    }

private:
    struct Options {
        bool ignore_case = false;
        bool dot_all = false;
    };

    Error invalid(std::string_view what) const {
        return error(ErrorCode::model_invalid, "{} at byte {} of the pattern {}", what, at_, pattern_);
    }
    Error unsupported(std::string_view what) const {
        return error(ErrorCode::unsupported, "{} at byte {} of the pattern {} is not supported", what, at_, pattern_);
    }

    bool done() const { return at_ == pattern_.size(); }
    bool looking_at(std::string_view text) const { return pattern_.substr(at_).starts_with(text); }
    bool take(std::string_view text) {
        if (!looking_at(text)) return false;
        at_ += text.size();
        return true;
    }
    char32_t take_char() {
        const char* p = pattern_.data() + at_;
        const char32_t c = utf8::next(p);
        at_ = static_cast<size_t>(p - pattern_.data());
        return c;
    }

    int add(RegexNode node) {
        tree_.nodes.push_back(std::move(node));
        return static_cast<int>(tree_.nodes.size()) - 1;
    }
    int add_set(CharSet set) {
        tree_.sets.push_back(std::move(set));
        return add({.kind = Kind::set, .set = static_cast<int>(tree_.sets.size()) - 1});
    }
    int add_char(char32_t c, const Options& options) {
        CharSet set;
        set.add(c, c);
        if (options.ignore_case) set.fold_case();
        return add_set(std::move(set));
    }

    // a|b|c, up to ')' or the end.
    Result<int> choice(Options options, int nesting) {
        if (nesting > kMaxNesting) return unsupported("nesting this deep");
        RegexNode node{.kind = Kind::choice};
        do {
            TRY(const int branch, sequence(options, nesting));
            node.children.push_back(branch);
        } while (take("|"));
        if (node.children.size() == 1) return node.children[0];
        return add(std::move(node));
    }

    Result<int> sequence(Options options, int nesting) {
        RegexNode node{.kind = Kind::sequence};
        while (!done() && !looking_at("|") && !looking_at(")")) {
            if (take("(?#")) {
                const size_t end = pattern_.find(')', at_);
                if (end == std::string_view::npos) return invalid("an unfinished comment");
                at_ = end + 1;
                continue;
            }
            TRY(int item, atom(options, nesting));
            TRY(item, quantified(item));
            node.children.push_back(item);
        }
        if (node.children.size() == 1) return node.children[0];
        return add(std::move(node));
    }

    struct Interval {
        int min, max;
        bool exact = false;  // {n}
    };

    // {n}, {n,}, {n,m}, {,m}; anything else after '{' is text.
    std::optional<Interval> interval() {
        size_t i = at_ + 1;
        const auto number = [&]() -> std::optional<int> {
            if (i >= pattern_.size() || pattern_[i] < '0' || pattern_[i] > '9') return std::nullopt;
            int n = 0;
            while (i < pattern_.size() && pattern_[i] >= '0' && pattern_[i] <= '9') {
                n = std::min(n * 10 + (pattern_[i++] - '0'), kMaxRepeat + 1);
            }
            return n;
        };
        const auto low = number();
        auto high = low;
        bool comma = false;
        if (i < pattern_.size() && pattern_[i] == ',') {
            comma = true;
            i++;
            high = number();
        }
        if (i >= pattern_.size() || pattern_[i] != '}' || (!low && !high)) return std::nullopt;
        at_ = i + 1;
        return Interval{low.value_or(0), high.value_or(RegexNode::kUnlimited), !comma};
    }

    Result<int> quantified(int item) {
        while (!done()) {
            RegexNode node{.kind = Kind::repeat, .children = {item}};
            const char c = pattern_[at_];
            if (c == '*' || c == '+' || c == '?') {
                at_++;
                node.min = c == '+' ? 1 : 0;
                node.max = c == '?' ? 1 : RegexNode::kUnlimited;
                if (take("?")) {
                    node.greed = Greed::lazy;
                } else if (take("+")) {
                    if (tree_.nodes[item].kind != Kind::set) return unsupported("a possessive quantifier over a group");
                    node.greed = Greed::possessive;
                }
            } else if (c == '{') {
                const auto range = interval();
                if (!range) return item;
                if (range->min > kMaxRepeat || range->max > kMaxRepeat) return unsupported("a repeat above 1000");
                if (range->max != RegexNode::kUnlimited && range->min > range->max) {
                    return unsupported("a repeat whose least is above its most");
                }
                node.min = range->min;
                node.max = range->max;
                if (range->exact && take("?")) {  // here {n}? means "n times or not at all"
                    item = add(std::move(node));
                    node = RegexNode{.kind = Kind::repeat, .children = {item}, .min = 0, .max = 1};
                } else if (take("?")) {
                    node.greed = Greed::lazy;
                }
            } else {
                return item;
            }
            if (const Kind kind = tree_.nodes[item].kind;
                kind == Kind::assertion || kind == Kind::look_ahead || kind == Kind::look_behind) {
                return unsupported("a quantifier over an assertion");
            }
            item = add(std::move(node));
        }
        return item;
    }

    Result<int> atom(Options& options, int nesting) {
        switch (pattern_[at_]) {
            case '(':
                return group(options, nesting);
            case '[': {
                TRY(CharSet set, char_class(options, nesting));
                return add_set(std::move(set));
            }
            case '\\':
                return escape(options);
            case '.': {
                at_++;
                CharSet set;
                if (!options.dot_all) set.add('\n', '\n');
                set.negate();
                return add_set(std::move(set));
            }
            case '^':
                at_++;
                return add({.kind = Kind::assertion, .assertion = Assertion::line_begin});
            case '$':
                at_++;
                return add({.kind = Kind::assertion, .assertion = Assertion::line_end});
            case '*':
            case '+':
            case '?':
                return invalid("a quantifier of nothing");
            default:
                return add_char(take_char(), options);
        }
    }

    Result<int> closed(int item) {
        if (!take(")")) return invalid("an unfinished group");
        return item;
    }

    Result<int> look(Kind kind, bool negative, const Options& options, int nesting) {
        TRY(int body, choice(options, nesting + 1));
        TRY(body, closed(body));
        if (kind == Kind::look_behind && tree_.nodes[body].kind != Kind::set) {
            return unsupported("lookbehind that is not one character");
        }
        return add({.kind = kind, .children = {body}, .negative = negative});
    }

    Result<int> group(Options& options, int nesting) {
        at_++;
        if (!take("?")) {
            TRY(const int body, choice(options, nesting + 1));
            return closed(body);
        }
        if (take("=")) return look(Kind::look_ahead, false, options, nesting);
        if (take("!")) return look(Kind::look_ahead, true, options, nesting);
        if (take("<=")) return look(Kind::look_behind, false, options, nesting);
        if (take("<!")) return look(Kind::look_behind, true, options, nesting);
        if (take(":")) {
            TRY(const int body, choice(options, nesting + 1));
            return closed(body);
        }
        if (take(">")) {
            TRY(int body, choice(options, nesting + 1));
            TRY(body, closed(body));
            RegexNode& node = tree_.nodes[body];
            if (node.kind == Kind::set) return body;
            if (node.kind != Kind::repeat || tree_.nodes[node.children[0]].kind != Kind::set ||
                node.greed == Greed::lazy) {
                return unsupported("an atomic group of more than one repeated class");
            }
            node.greed = Greed::possessive;
            return body;
        }
        if (looking_at("<") || looking_at("'")) {
            const char close = pattern_[at_] == '<' ? '>' : '\'';
            const size_t end = pattern_.find(close, at_ + 1);
            if (end == std::string_view::npos) return invalid("an unfinished group name");
            at_ = end + 1;
            TRY(const int body, choice(options, nesting + 1));
            return closed(body);
        }
        return option_group(options, nesting);
    }

    // (?im-im) for the rest of the enclosing group, or (?im-im:…).
    Result<int> option_group(Options& options, int nesting) {
        Options inner = options;
        for (bool on = true; !done(); at_++) {
            const char c = pattern_[at_];
            if (c == '-') {
                on = false;
            } else if (c == 'i') {
                inner.ignore_case = on;
            } else if (c == 'm') {
                inner.dot_all = on;
            } else if (c == ':' || c == ')') {
                break;
            } else {
                return unsupported("this kind of group");
            }
        }
        if (take(":")) {
            TRY(const int body, choice(inner, nesting + 1));
            return closed(body);
        }
        if (!take(")")) return invalid("an unfinished group");
        return choice(inner, nesting + 1);  // stops at the ')' of the enclosing group, which stays unread
    }

    Result<char32_t> hex(size_t most) {
        char32_t value = 0;
        size_t digits = 0;
        while (!done() && digits < most) {
            const char c = pattern_[at_];
            const int digit = c >= '0' && c <= '9'   ? c - '0'
                              : c >= 'a' && c <= 'f' ? c - 'a' + 10
                              : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                     : -1;
            if (digit < 0) break;
            value = value * 16 + static_cast<char32_t>(digit);
            digits++;
            at_++;
        }
        if (digits == 0 || value > kLastCodePoint) return invalid("a bad hexadecimal number");
        return value;
    }

    // One character after '\', where it stands for a character. Nothing when it is a letter with another meaning.
    Result<std::optional<char32_t>> escaped_char(bool in_class) {
        const char c = pattern_[at_];
        const auto one = [&](char32_t value) -> std::optional<char32_t> {
            at_++;
            return value;
        };
        switch (c) {
            case 't':
                return one('\t');
            case 'n':
                return one('\n');
            case 'r':
                return one('\r');
            case 'f':
                return one('\f');
            case 'v':
                return one('\v');
            case 'a':
                return one('\a');
            case 'e':
                return one(0x1B);
            case 'b':
                if (in_class) return one('\b');
                return std::optional<char32_t>();
            case 'x': {
                at_++;
                if (take("{")) {
                    TRY(const char32_t value, hex(8));
                    if (!take("}")) return invalid("an unfinished \\x{");
                    return std::optional<char32_t>(value);
                }
                TRY(const char32_t value, hex(2));
                if (value > 0x7F) return unsupported("\\x of a single byte above 7F");
                return std::optional<char32_t>(value);
            }
            case 'u': {
                at_++;
                if (pattern_.size() - at_ < 4) return invalid("\\u without four digits");
                const size_t begin = at_;
                TRY(const char32_t value, hex(4));
                if (at_ - begin != 4) return invalid("\\u without four digits");
                return std::optional<char32_t>(value);
            }
            case '0': {
                char32_t value = 0;
                for (int digits = 0; digits < 3 && !done() && pattern_[at_] >= '0' && pattern_[at_] <= '7'; digits++) {
                    value = value * 8 + static_cast<char32_t>(pattern_[at_++] - '0');
                }
                if (value > 0x7F) return unsupported("an octal number above 177");
                return std::optional<char32_t>(value);
            }
            default:
                break;
        }
        const bool has_meaning = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (has_meaning) return std::optional<char32_t>();
        return std::optional<char32_t>(take_char());
    }

    // \d \s \w \h \p{…} and their opposites. Nothing when it is none of them.
    Result<std::optional<CharSet>> escaped_set() {
        const char c = pattern_[at_];
        const auto named = [&](std::string_view name, bool negative) {
            at_++;
            CharSet set = *regex_property(name);
            if (negative) set.negate();
            return std::optional<CharSet>(std::move(set));
        };
        switch (c) {
            case 'd':
                return named("nd", false);
            case 'D':
                return named("nd", true);
            case 's':
                return named("space", false);
            case 'S':
                return named("space", true);
            case 'w':
                return named("word", false);
            case 'W':
                return named("word", true);
            case 'h':
                return named("xdigit", false);
            case 'H':
                return named("xdigit", true);
            case 'p':
            case 'P':
                break;
            default:
                return std::optional<CharSet>();
        }
        at_++;
        if (!take("{")) return unsupported("\\p without braces");
        bool negative = c == 'P';
        if (take("^")) negative = !negative;
        const size_t end = pattern_.find('}', at_);
        if (end == std::string_view::npos) return invalid("an unfinished \\p{");
        const std::string_view name = pattern_.substr(at_, end - at_);
        auto set = regex_property(name);
        if (!set) return unsupported(fmt::format("the property {}", name));
        at_ = end + 1;
        if (negative) set->negate();
        return set;
    }

    Result<int> escape(const Options& options) {
        at_++;
        if (done()) return invalid("'\\' at the end");
        switch (pattern_[at_]) {
            case 'b':
                at_++;
                return add({.kind = Kind::assertion, .assertion = Assertion::word});
            case 'B':
                at_++;
                return add({.kind = Kind::assertion, .assertion = Assertion::not_word});
            case 'A':
                at_++;
                return add({.kind = Kind::assertion, .assertion = Assertion::text_begin});
            case 'z':
                at_++;
                return add({.kind = Kind::assertion, .assertion = Assertion::text_end});
            case 'Z':
                at_++;
                return add({.kind = Kind::assertion, .assertion = Assertion::text_end_or_newline});
            default:
                break;
        }
        const bool word = pattern_[at_] == 'w' || pattern_[at_] == 'W';
        const bool not_word = pattern_[at_] == 'W';
        TRY(auto set, escaped_set());
        if (set) {
            if (not_word) set->negate();
            if (word) {
                for (const char32_t c : kWordOutsideClass) set->add(c, c);
            }
            if (not_word) set->negate();
            return add_set(std::move(*set));
        }
        TRY(const auto c, escaped_char(false));
        if (c) return add_char(*c, options);
        return unsupported(fmt::format("\\{}", pattern_[at_]));
    }

    // [:name:] inside a class; nothing when it is not one.
    Result<std::optional<CharSet>> posix_class() {
        const size_t end = pattern_.find(":]", at_ + 2);
        if (!looking_at("[:") || end == std::string_view::npos) return std::optional<CharSet>();
        std::string_view name = pattern_.substr(at_ + 2, end - at_ - 2);
        const bool negative = name.starts_with('^');
        if (negative) name.remove_prefix(1);
        if (name.empty() || !std::all_of(name.begin(), name.end(), [](char c) { return c >= 'a' && c <= 'z'; })) {
            return std::optional<CharSet>();
        }
        auto set = regex_property(name);
        if (!set) return unsupported(fmt::format("the class [:{}:]", name));
        if (name == "punct") set->add(*regex_property("s"));  // the bracket has the symbols, \p{Punct} has not
        at_ = end + 2;
        if (negative) set->negate();
        return set;
    }

    Result<CharSet> char_class(const Options& options, int nesting) {
        if (nesting > kMaxNesting) return unsupported("nesting this deep");
        at_++;
        const bool negative = take("^");
        std::optional<CharSet> left;  // of the && before
        CharSet set;
        bool any = false;
        if (looking_at("]") && pattern_.find(']', at_ + 1) != std::string_view::npos) {
            at_++;
            set.add(']', ']');
            any = true;
        }
        for (;; any = true) {
            if (done()) return invalid("an unfinished class");
            if (take("]")) break;
            if (take("&&")) {
                if (options.ignore_case) set.fold_case();
                if (left) set.intersect(*left);
                left = std::move(set);
                set = {};
                continue;
            }
            if (looking_at("[")) {
                TRY(const auto posix, posix_class());
                if (posix) {
                    set.add(*posix);
                } else {
                    TRY(const CharSet inner, char_class(options, nesting + 1));
                    set.add(inner);
                }
                continue;
            }
            TRY(const auto first, class_item(set));
            if (!first) continue;
            // A range, unless '-' is the last in the class.
            if (looking_at("-") && !looking_at("-]") && at_ + 1 < pattern_.size()) {
                const size_t dash = at_;
                at_++;
                if (!looking_at("[") && !looking_at("&&")) {
                    CharSet ignored;
                    TRY(const auto last, class_item(ignored));
                    if (!last) return unsupported("a range that ends in a class");
                    if (*last < *first) return invalid("a range that runs backwards");
                    set.add(*first, *last);
                    continue;
                }
                at_ = dash;
            }
            set.add(*first, *first);
        }
        if (!any) return invalid("an empty class");
        if (options.ignore_case) set.fold_case();
        if (left) set.intersect(*left);
        if (negative) set.negate();
        return set;
    }

    // One character of a class, or nothing when it was a set, which is then added to `set`.
    Result<std::optional<char32_t>> class_item(CharSet& set) {
        if (!take("\\")) return std::optional<char32_t>(take_char());
        if (done()) return invalid("'\\' at the end");
        TRY(const auto escaped, escaped_set());
        if (escaped) {
            set.add(*escaped);
            return std::optional<char32_t>();
        }
        TRY(const auto c, escaped_char(true));
        if (!c) return unsupported(fmt::format("\\{} in a class", pattern_[at_]));
        return c;
    }

    std::string_view pattern_;
    size_t at_ = 0;
    RegexTree tree_;
};

}  // namespace

bool is_regex_word(char32_t c) {
    return unicode::has(c, unicode::kWord) ||
           std::find(kWordOutsideClass.begin(), kWordOutsideClass.end(), c) != kWordOutsideClass.end();
}

Result<RegexTree> parse_regex(std::string_view pattern) {
    return Parser(pattern).parse();
}

}  // namespace nibble::text
