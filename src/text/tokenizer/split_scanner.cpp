#include "text/tokenizer/split_scanner.h"

#include "text/tokenizer/utf8.h"

namespace nibble::text {
namespace {

using unicode::Category;

// Classes of characters. A letter or mark is also in one or both halves of a cased word.
constexpr uint8_t kSpace = 1, kLetter = 2, kMark = 4, kNumber = 8;
constexpr uint8_t kHead = 16;     // [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]
constexpr uint8_t kTail = 32;     // [\p{Ll}\p{Lm}\p{Lo}\p{M}]
constexpr uint8_t kLineEnd = 64;  // [\r\n]

uint8_t classes_of(Category category) {
    switch (category) {
        case Category::Lu:
        case Category::Lt:
            return kLetter | kHead;
        case Category::Ll:
            return kLetter | kTail;
        case Category::Lm:
        case Category::Lo:
            return kLetter | kHead | kTail;
        case Category::Mn:
        case Category::Mc:
        case Category::Me:
            return kMark | kHead | kTail;
        case Category::Nd:
        case Category::Nl:
        case Category::No:
            return kNumber;
        case Category::Zs:
        case Category::Zl:
        case Category::Zp:
            return kSpace;
        default:
            return 0;
    }
}

constexpr std::string_view kHeads = "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]";
constexpr std::string_view kTails = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]";
constexpr std::string_view kAnyCase = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";

}  // namespace

SplitScanner::SplitScanner() : table_(&unicode::KindTable::get()) {
    const auto kinds = unicode::kinds();
    for (size_t i = 0; i < kinds.size(); i++) kinds_[i] = classes_of(static_cast<Category>(kinds[i].category));
    for (char32_t c = 0; c < 128; c++) {
        ascii_[c] = static_cast<uint8_t>(kinds_[(*table_)[c]] | (unicode::is_space(c) ? kSpace : 0) |
                                         (c == '\r' || c == '\n' ? kLineEnd : 0));
    }
}

std::optional<SplitScanner> SplitScanner::recognise(std::string_view rest) {
    SplitScanner scanner;
    const auto take = [&](std::initializer_list<std::string_view> parts) {
        std::string_view left = rest;
        for (const auto part : parts) {
            if (!left.starts_with(part)) return false;
            left.remove_prefix(part.size());
        }
        rest = left;
        return true;
    };

    if (take({"'s|'t|'re|'ve|'m|'ll|'d|"})) {
        scanner.contractions_ = Contractions::lower;
    } else if (take({kAnyCase, "|"}) || take({"'(?i:[sdmt]|ll|ve|re)|"})) {
        scanner.contractions_ = Contractions::any_case;
    }

    if (take({" ?\\p{L}+|"})) {
        scanner.letters_ = Letters::spaced;
    } else if (take({"[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"}) || take({"[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|"})) {
        scanner.letters_ = Letters::prefixed;
        scanner.word_ = kLetter;
    } else if (take({"[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|"})) {
        scanner.letters_ = Letters::prefixed;
        scanner.word_ = kLetter | kMark;
    } else if (take({kHeads, "*", kTails, "+|", kHeads, "+", kTails, "*|"})) {
        scanner.letters_ = Letters::cased;
    } else if (take({kHeads, "*", kTails, "+", kAnyCase, "?|", kHeads, "+", kTails, "*", kAnyCase, "?|"})) {
        scanner.letters_ = Letters::cased;
        scanner.contraction_suffix_ = true;
    } else {
        return std::nullopt;
    }

    if (take({" ?\\p{N}+|"})) {
        scanner.spaced_digits_ = true;
    } else if (take({"\\p{N}+|"})) {
        scanner.most_digits_ = 0;
    } else if (take({"\\p{N}|"})) {
        scanner.most_digits_ = 1;
    } else if (take({"\\p{N}{1,2}|"})) {
        scanner.most_digits_ = 2;
    } else if (take({"\\p{N}{1,3}|"})) {
        scanner.most_digits_ = 3;
    } else {
        return std::nullopt;
    }

    if (take({" ?[^\\s\\p{L}\\p{N}]+"})) {
        scanner.not_other_ = kSpace | kLetter | kNumber;
    } else if (take({" ?[^\\s\\p{L}\\p{M}\\p{N}]+"})) {
        scanner.not_other_ = kSpace | kLetter | kMark | kNumber;
    } else {
        return std::nullopt;
    }
    take({"+"});  // possessive: the same, as nothing that follows could take from it
    if (take({"[\\r\\n/]*"})) {
        scanner.newlines_follow_ = scanner.slashes_follow_ = true;
    } else if (take({"[\\r\\n]*"})) {
        scanner.newlines_follow_ = true;
    }

    // With one line end or many: \s* has taken all but the last, in either.
    scanner.line_ends_ = take({"|\\s*[\\r\\n]+"}) || take({"|\\s*[\\r\\n]"});
    if (!take({"|\\s+(?!\\S)|\\s+"}) || !rest.empty()) return std::nullopt;
    return scanner;
}

SplitScanner SplitScanner::gpt2() {
    return *recognise("'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+");
}

inline SplitScanner::Char SplitScanner::at(const char* p) const {
    if (static_cast<unsigned char>(*p) < 128) return {ascii_[static_cast<unsigned char>(*p)], p + 1};
    const char32_t c = utf8::next(p);
    if (c == 0x85) return {kSpace, p};  // the only space whose category does not tell
    return {kinds_[(*table_)[c]], p};
}

const char* SplitScanner::run(const char* p, const char* end, uint8_t classes) const {
    while (p < end) {
        const Char c = at(p);
        if ((c.classes & classes) == 0) break;
        p = c.next;
    }
    return p;
}

const char* SplitScanner::match(const char* p, const char* end) const {
    if (*p == '\'' && contractions_ != Contractions::none) {
        if (const char* q = contraction(p, end, contractions_ == Contractions::any_case); q != p) return q;
    }
    const Char first = at(p);
    if (const char* q = letters(p, end, first); q != p) return q;

    if (first.classes & kNumber) {
        if (most_digits_ == 0) return run(first.next, end, kNumber);
        const char* q = first.next;
        for (int i = 1; i < most_digits_ && q < end; i++) {
            const Char c = at(q);
            if ((c.classes & kNumber) == 0) break;
            q = c.next;
        }
        return q;
    }
    if (spaced_digits_ && *p == ' ' && p + 1 < end && (at(p + 1).classes & kNumber) != 0) {
        return run(p + 1, end, kNumber);
    }

    const char* q = *p == ' ' ? p + 1 : p;
    if (q < end && (at(q).classes & not_other_) == 0) {
        do {
            q = at(q).next;
        } while (q < end && (at(q).classes & not_other_) == 0);
        if (newlines_follow_) {
            while (q < end && (*q == '\r' || *q == '\n' || (slashes_follow_ && *q == '/'))) q++;
        }
        return q;
    }
    if (first.classes & kSpace) return whitespace(p, end);
    return p;
}

// p is at an apostrophe.
const char* SplitScanner::contraction(const char* p, const char* end, bool any_case) const {
    const auto letter = [&](ptrdiff_t i) -> char {
        if (end - p <= i) return 0;
        const char c = p[i];
        return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    };
    switch (letter(1)) {
        case 's':
        case 't':
        case 'm':
        case 'd':
            return p + 2;
        case 'r':
        case 'v':
            return letter(2) == 'e' ? p + 3 : p;
        case 'l':
            return letter(2) == 'l' ? p + 3 : p;
        case '\xC5':
            return any_case && letter(2) == '\xBF' ? p + 3 : p;  // ſ is a lower case of S
        default:
            return p;
    }
}

const char* SplitScanner::letters(const char* p, const char* end, const Char& first) const {
    switch (letters_) {
        case Letters::spaced: {
            const char* q = *p == ' ' ? p + 1 : p;
            return q < end && (at(q).classes & kLetter) != 0 ? run(q, end, kLetter) : p;
        }
        case Letters::prefixed:
            // A mark that is part of words is also a prefix: either way the rest of the word follows.
            if (first.classes & word_) return run(first.next, end, word_);
            if ((first.classes & (kLetter | kNumber | kLineEnd)) == 0 && first.next < end) {
                const Char second = at(first.next);
                if (second.classes & word_) return run(second.next, end, word_);
            }
            return p;
        case Letters::cased: {
            const char* q = cased(p, end, first);
            if (q == p || !contraction_suffix_ || q == end || *q != '\'') return q;
            return contraction(q, end, true);
        }
    }
    return p;
}

// P?H*T+ | P?H+T*, where H and T share the letters without case and the marks, and P has the marks too.
const char* SplitScanner::cased(const char* p, const char* end, const Char& first) const {
    const bool prefix = (first.classes & (kLetter | kNumber | kLineEnd)) == 0;
    const char* const begin = prefix ? first.next : p;
    const char* last_shared_end = nullptr;  // of the last character of H* that T could have too
    const char* q = begin;
    Char c{};
    while (q < end) {
        c = at(q);
        if ((c.classes & kHead) == 0) break;
        if (c.classes & kTail) last_shared_end = c.next;
        q = c.next;
    }
    if (q < end && (c.classes & kTail) != 0) return run(c.next, end, kTail);
    // H* gives back until T can have one, which is then all that T gets.
    if (last_shared_end != nullptr) return last_shared_end;
    // The same without the prefix: if it is a mark, T can have that.
    if (prefix && (first.classes & kMark) != 0) return first.next;
    return q > begin ? q : p;
}

const char* SplitScanner::whitespace(const char* p, const char* end) const {
    const char* line_end = nullptr;
    const char* last = p;
    const char* q = p;
    while (q < end) {
        const Char c = at(q);
        if ((c.classes & kSpace) == 0) break;
        if (c.classes & kLineEnd) line_end = c.next;
        last = q;
        q = c.next;
    }
    if (line_ends_ && line_end != nullptr) return line_end;
    return q == end || last == p ? q : last;
}

}  // namespace nibble::text
