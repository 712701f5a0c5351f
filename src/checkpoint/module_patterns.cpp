#define PCRE2_CODE_UNIT_WIDTH 8
#include "checkpoint/module_patterns.h"

#include "base/in_quotes.h"

#include <pcre2.h>

#include <algorithm>

namespace nibble::checkpoint {
namespace {

constexpr size_t kMostPatterns = 2048;
constexpr size_t kLongestPattern = 4096;
constexpr uint32_t kMatchSteps = 100'000;
constexpr uint32_t kMatchDepth = 1'000;
constexpr uint32_t kMatchHeapKib = 1'024;
constexpr std::string_view kRegex = "re:";

// The bracket expression at the front of pattern: whether c is in it, and its length. Length 0: there is no ']', so the
// '[' stands for itself.
std::pair<bool, size_t> match_set(std::string_view pattern, char c) {
    size_t i = 1;
    const bool negated = i < pattern.size() && pattern[i] == '!';
    if (negated) ++i;
    const size_t first = i;
    const size_t end = pattern.find(']', first + 1);  // a ']' in first place is a member
    if (end == std::string_view::npos) return {false, 0};
    bool found = false;
    while (i < end) {
        if (i + 2 < end && pattern[i + 1] == '-') {
            found = found || (pattern[i] <= c && c <= pattern[i + 2]);
            i += 3;
        } else {
            found = found || pattern[i] == c;
            ++i;
        }
    }
    return {found != negated, end + 1};
}

struct FreeMatchData {
    void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
};
struct FreeMatchContext {
    void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
};

}  // namespace

bool wildcard_matches(std::string_view pattern, std::string_view text) {
    size_t p = 0, t = 0;
    // Where to go on when the rest does not fit: behind the last star, one character of text further. Earlier stars
    // need no second try, so the work is at most pattern x text.
    size_t star = std::string_view::npos, star_text = 0;
    while (true) {
        if (p < pattern.size() && pattern[p] == '*') {
            star = ++p;
            star_text = t;
            continue;
        }
        if (p == pattern.size() && t == text.size()) return true;
        if (p < pattern.size() && t < text.size()) {
            bool fits = pattern[p] == '?' || pattern[p] == text[t];
            size_t length = 1;
            if (pattern[p] == '[')
                if (const auto [in_set, set_length] = match_set(pattern.substr(p), text[t]); set_length > 0) {
                    fits = in_set;
                    length = set_length;
                }
            if (fits) {
                p += length;
                ++t;
                continue;
            }
        }
        if (star == std::string_view::npos || star_text == text.size()) return false;
        p = star;
        t = ++star_text;
    }
}

struct ModulePatterns::Expression {
    struct Free {
        void operator()(pcre2_code* code) const { pcre2_code_free(code); }
    };
    size_t index;
    std::unique_ptr<pcre2_code, Free> code;
};

ModulePatterns::ModulePatterns() = default;
ModulePatterns::~ModulePatterns() = default;
ModulePatterns::ModulePatterns(ModulePatterns&&) noexcept = default;
ModulePatterns& ModulePatterns::operator=(ModulePatterns&&) noexcept = default;

Result<ModulePatterns> ModulePatterns::parse(std::vector<std::string> entries, Syntax syntax,
                                             const std::string& where) {
    ModulePatterns patterns;
    patterns.entries_ = std::move(entries);
    for (size_t i = 0; i < patterns.entries_.size(); ++i) {
        const std::string& entry = patterns.entries_[i];
        if (entry.size() > kLongestPattern)
            return error(ErrorCode::model_invalid, "{}[{}]: {} bytes, expected at most {}", where, i, entry.size(),
                         kLongestPattern);
        if (syntax == Syntax::regex && entry.starts_with(kRegex)) {
            const std::string_view source = std::string_view(entry).substr(kRegex.size());
            int code = 0;
            PCRE2_SIZE at = 0;
            pcre2_code* compiled =
                pcre2_compile(reinterpret_cast<PCRE2_SPTR>(source.data()), source.size(),
                              PCRE2_ANCHORED | PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C, &code, &at, nullptr);
            if (compiled == nullptr) {
                PCRE2_UCHAR reason[128] = {};
                pcre2_get_error_message(code, reason, sizeof reason);
                return error(ErrorCode::model_invalid, "{}[{}]: {} is no regular expression: {} at character {}", where,
                             i, in_quotes(entry), reinterpret_cast<const char*>(reason), at);
            }
            patterns.expressions_.push_back({i, std::unique_ptr<pcre2_code, Expression::Free>(compiled)});
            continue;
        }
        patterns.exact_.emplace_back(entry, i);
        if (syntax != Syntax::wildcard || entry.empty()) continue;
        (entry.find_first_of("*?[") == std::string::npos ? patterns.parts_ : patterns.wildcards_).push_back(i);
    }
    if (patterns.wildcards_.size() + patterns.expressions_.size() > kMostPatterns)
        return error(ErrorCode::model_invalid, "{}: {} patterns, expected at most {}", where,
                     patterns.wildcards_.size() + patterns.expressions_.size(), kMostPatterns);
    std::sort(patterns.exact_.begin(), patterns.exact_.end());
    // A list this long names every module exactly; to try each of its names as a part of each module would take
    // minutes.
    if (patterns.parts_.size() > kMostPatterns) patterns.parts_.clear();
    return patterns;
}

std::optional<ModulePatterns::Match> ModulePatterns::match(std::string_view module) const {
    const auto exact = std::lower_bound(exact_.begin(), exact_.end(), std::pair(module, size_t{0}));
    if (exact != exact_.end() && exact->first == module) return Match{exact->second, How::exact};
    for (const size_t index : wildcards_)
        if (wildcard_matches(entries_[index], module)) return Match{index, How::pattern};
    if (!expressions_.empty()) {
        const std::unique_ptr<pcre2_match_data, FreeMatchData> data(pcre2_match_data_create(1, nullptr));
        const std::unique_ptr<pcre2_match_context, FreeMatchContext> limits(pcre2_match_context_create(nullptr));
        if (!data || !limits) return Match{expressions_.front().index, How::failed};
        pcre2_set_match_limit(limits.get(), kMatchSteps);
        pcre2_set_depth_limit(limits.get(), kMatchDepth);
        pcre2_set_heap_limit(limits.get(), kMatchHeapKib);
        for (const Expression& expression : expressions_) {
            const int result = pcre2_match(expression.code.get(), reinterpret_cast<PCRE2_SPTR>(module.data()),
                                           module.size(), 0, 0, data.get(), limits.get());
            if (result >= 0) return Match{expression.index, How::pattern};
            if (result != PCRE2_ERROR_NOMATCH) return Match{expression.index, How::failed};
        }
    }
    for (const size_t index : parts_)
        if (module.find(entries_[index]) != std::string_view::npos) return Match{index, How::part};
    return std::nullopt;
}

}  // namespace nibble::checkpoint
