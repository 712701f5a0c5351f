#include "text/tokenizer/pattern.h"

#include "text/tokenizer/utf8.h"

namespace nibble::text {
namespace {

constexpr size_t kMaxLiteral = 1024;  // bytes: a search costs at most as many comparisons a byte

enum class WordClass { space, word, other };

WordClass word_class(char32_t c) {
    if (unicode::is_space(c)) return WordClass::space;
    return unicode::has(c, unicode::kPlainWord) ? WordClass::word : WordClass::other;
}

}  // namespace

Result<Pattern> Pattern::literal(std::string text) {
    if (text.empty() || text.size() > kMaxLiteral) {
        return error(ErrorCode::unsupported, "expected a string of 1 to {} bytes, found {}", kMaxLiteral, text.size());
    }
    return Pattern(std::move(text));
}

Result<Pattern> Pattern::regex(std::string_view source) {
    if (auto scanner = SplitScanner::recognise(source)) return Pattern(std::move(*scanner));
    return interpreted(source);
}

Result<Pattern> Pattern::interpreted(std::string_view source) {
    TRY(Regex regex, Regex::compile(source));
    return Pattern(std::make_shared<const Regex>(std::move(regex)));
}

Pattern::Matches::Matches(const Pattern& pattern) : pattern_(pattern) {
    if (const auto* regex = std::get_if<std::shared_ptr<const Regex>>(&pattern.what_)) search_.emplace(**regex);
}

void Pattern::Matches::start(std::string_view text) {
    text_ = text;
    at_ = 0;
    if (search_) search_->start(text);
}

bool Pattern::Matches::next(size_t& begin, size_t& end) {
    if (search_) return search_->next(begin, end);
    const char* const text = text_.data();
    const char* const limit = text + text_.size();
    if (const auto* literal = std::get_if<std::string>(&pattern_.what_)) {
        begin = text_.find(*literal, at_);
        if (begin == std::string_view::npos) return false;
        at_ = end = begin + literal->size();
        return true;
    }
    for (const char* p = text + at_; p < limit;) {
        const char* q = p;
        if (const auto* scanner = std::get_if<SplitScanner>(&pattern_.what_)) {
            q = scanner->match(p, limit);
        } else if (const auto* test = std::get_if<CharTest>(&pattern_.what_)) {
            const char32_t c = utf8::next(q);
            if (!(*test)(c)) {
                p = q;
                continue;
            }
        } else if (const WordClass first = word_class(utf8::at(p)); first != WordClass::space) {
            for (const char* r = p; r < limit && word_class(utf8::next(r)) == first;) q = r;
        }
        if (q == p) {
            p += utf8::length(*p);
            continue;
        }
        begin = static_cast<size_t>(p - text);
        at_ = end = static_cast<size_t>(q - text);
        return true;
    }
    at_ = text_.size();
    return false;
}

}  // namespace nibble::text
