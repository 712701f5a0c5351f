#include "text/tokenizer/normalize.h"

#include "text/tokenizer/byte_level.h"
#include "text/tokenizer/utf8.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>

namespace nibble::text {
namespace {

constexpr char32_t kEnd = 0x110000;
// Hangul syllables are composed by arithmetic (The Unicode Standard, 3.12).
constexpr char32_t kSyllables = 0xAC00, kLeads = 0x1100, kVowels = 0x1161, kTrails = 0x11A7;
constexpr char32_t kLeadCount = 19, kVowelCount = 21, kTrailCount = 28;
constexpr char32_t kSyllableCount = kLeadCount * kVowelCount * kTrailCount;

constexpr uint8_t bit(NormalForm form) {
    return static_cast<uint8_t>(1 << static_cast<int>(form));
}
constexpr uint8_t kComposed = bit(NormalForm::nfc) | bit(NormalForm::nfkc);
constexpr uint8_t kDecomposed = bit(NormalForm::nfd) | bit(NormalForm::nfkd);
constexpr uint8_t kCompatible = bit(NormalForm::nfkc) | bit(NormalForm::nfkd);

// What normalization has to know of a character. Entry 0 is that of the characters that nothing ever happens to.
struct Entry {
    uint8_t touched =
        0;  // bit(form): a text with it may not be in the form; it changes, is moved or joins what is before
    uint8_t combining = 0;
    uint8_t canonical_size = 0, compatible_size = 0;  // of the full decomposition; 0: none
    uint16_t canonical = 0, compatible = 0;           // where it begins in Forms::sequences
};

class Forms {
public:
    static const Forms& get() {
        static const Forms forms;
        return forms;
    }

    const Entry& operator[](char32_t c) const { return entries_[cells_[size_t{pages_[c >> 8]} << 8 | (c & 0xFF)]]; }

    // The full decomposition of c, appended.
    void decompose(char32_t c, bool compatible, std::vector<char32_t>& out) const {
        if (c - kSyllables < kSyllableCount) {
            const char32_t s = c - kSyllables;
            out.push_back(kLeads + s / (kVowelCount * kTrailCount));
            out.push_back(kVowels + s % (kVowelCount * kTrailCount) / kTrailCount);
            if (s % kTrailCount != 0) out.push_back(kTrails + s % kTrailCount);
            return;
        }
        const Entry& entry = (*this)[c];
        const size_t size = compatible ? entry.compatible_size : entry.canonical_size;
        const size_t begin = compatible ? entry.compatible : entry.canonical;
        if (size == 0) {
            out.push_back(c);
        } else {
            out.insert(out.end(), sequences_.begin() + begin, sequences_.begin() + begin + size);
        }
    }

    // What the two compose to, or 0.
    char32_t compose(char32_t a, char32_t b) const {
        if (a - kLeads < kLeadCount && b - kVowels < kVowelCount) {
            return kSyllables + ((a - kLeads) * kVowelCount + (b - kVowels)) * kTrailCount;
        }
        if (a - kSyllables < kSyllableCount && (a - kSyllables) % kTrailCount == 0 && b > kTrails &&
            b < kTrails + kTrailCount) {
            return a + (b - kTrails);
        }
        const uint64_t key = uint64_t{a} << 32 | b;
        const auto found = std::lower_bound(pairs_.begin(), pairs_.end(), key,
                                            [](const Pair& pair, uint64_t wanted) { return pair.key < wanted; });
        return found != pairs_.end() && found->key == key ? found->composite : 0;
    }

private:
    struct Pair {
        uint64_t key;  // first << 32 | second
        char32_t composite;
    };

    Forms() {
        std::vector<uint16_t> index(kEnd);
        entries_.emplace_back();
        entries_.push_back({.touched = kDecomposed});  // Hangul syllables
        std::fill(index.begin() + kSyllables, index.begin() + kSyllables + kSyllableCount, uint16_t{1});
        const auto entry = [&](char32_t c) -> Entry& {
            if (index[c] == 0) {
                index[c] = static_cast<uint16_t>(entries_.size());
                entries_.emplace_back();
            }
            return entries_[index[c]];
        };

        std::map<std::u32string, char32_t> composites;  // by full canonical decomposition
        for (const auto& range :
             unicode::where([](const unicode::Properties&p, uint32_t flag) { return (p.flags & flag) != 0; },
                            unicode::kNormalizes)) {
            for (char32_t c = range.first; c <= range.last; c++) {
                if (c - kSyllables < kSyllableCount) continue;
                Entry& e = entry(c);
                e.combining =
                    static_cast<uint8_t>(utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->combining_class);
                const std::u32string canonical = decomposition(c, false), compatible = decomposition(c, true);
                const bool changes = canonical != std::u32string_view(&c, 1);
                if (changes) {
                    e.canonical = static_cast<uint16_t>(sequences_.size());
                    e.canonical_size = static_cast<uint8_t>(canonical.size());
                    sequences_.insert(sequences_.end(), canonical.begin(), canonical.end());
                    e.touched |= kDecomposed;
                    if (composition(canonical) == c) {
                        composites.emplace(canonical, c);
                    } else {
                        e.touched |= kComposed;
                    }
                }
                if (compatible != std::u32string_view(&c, 1)) {
                    e.compatible = static_cast<uint16_t>(sequences_.size());
                    e.compatible_size = static_cast<uint8_t>(compatible.size());
                    sequences_.insert(sequences_.end(), compatible.begin(), compatible.end());
                    e.touched |= bit(NormalForm::nfkd);
                    if (compatible != canonical) e.touched |= kCompatible;
                }
                if (e.combining != 0) e.touched |= kComposed | kDecomposed;
            }
        }
        for (const auto& [sequence, composite] : composites) {
            const std::u32string first = sequence.substr(0, sequence.size() - 1);
            const auto shorter = composites.find(first);
            if (first.size() > 1 && shorter == composites.end()) continue;
            const char32_t a = first.size() == 1 ? first[0] : shorter->second;
            pairs_.push_back({uint64_t{a} << 32 | sequence.back(), composite});
            entry(sequence.back()).touched |= kComposed;
        }
        std::sort(pairs_.begin(), pairs_.end(), [](const Pair& a, const Pair& b) { return a.key < b.key; });
        for (char32_t c = kVowels; c < kVowels + kVowelCount; c++) entry(c).touched |= kComposed;
        for (char32_t c = kTrails + 1; c < kTrails + kTrailCount; c++) entry(c).touched |= kComposed;

        std::map<std::vector<uint16_t>, uint16_t> known;
        pages_.resize(kEnd >> 8);
        for (size_t page = 0; page < pages_.size(); page++) {
            std::vector<uint16_t> cells(index.begin() + page * 256, index.begin() + (page + 1) * 256);
            const auto [place, fresh] = known.try_emplace(std::move(cells), static_cast<uint16_t>(known.size()));
            if (fresh) cells_.insert(cells_.end(), place->first.begin(), place->first.end());
            pages_[page] = place->second;
        }
    }

    static std::u32string decomposition(char32_t c, bool compatible) {
        std::array<utf8proc_int32_t, 32> out;
        int boundary = 0;
        const auto options = static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0));
        const auto n =
            utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), out.data(), out.size(), options, &boundary);
        std::u32string sequence;
        for (utf8proc_ssize_t i = 0; i < n && i < static_cast<utf8proc_ssize_t>(out.size()); i++) {
            sequence.push_back(static_cast<char32_t>(out[i]));
        }
        return sequence;
    }

    // The one character that a full decomposition composes to, or 0.
    static char32_t composition(const std::u32string& sequence) {
        std::array<utf8proc_int32_t, 32> buffer;
        std::copy(sequence.begin(), sequence.end(), buffer.begin());
        const auto options = static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE);
        const auto n = utf8proc_normalize_utf32(buffer.data(), static_cast<utf8proc_ssize_t>(sequence.size()), options);
        return n == 1 ? static_cast<char32_t>(buffer[0]) : 0;
    }

    std::vector<uint16_t> pages_, cells_;
    std::vector<Entry> entries_;
    std::vector<char32_t> sequences_;
    std::vector<Pair> pairs_;  // by key
};

// Decomposes, orders and, for a composed form, composes; the text begins and ends where nothing joins across.
void normalize_segment(const Forms& forms, NormalForm form, std::string_view text, std::string& out) {
    thread_local std::vector<char32_t> chars;
    chars.clear();
    for (const char *p = text.data(), *end = p + text.size(); p < end;) {
        forms.decompose(utf8::next(p), (bit(form) & kCompatible) != 0, chars);
    }
    const auto combining = [&](char32_t c) { return forms[c].combining; };
    for (size_t i = 0; i < chars.size();) {
        size_t end = i;
        while (end < chars.size() && combining(chars[end]) != 0) end++;
        if (end - i > 1) {
            std::stable_sort(chars.begin() + static_cast<ptrdiff_t>(i), chars.begin() + static_cast<ptrdiff_t>(end),
                             [&](char32_t a, char32_t b) { return combining(a) < combining(b); });
        }
        i = end + 1;
    }
    if (bit(form) & kComposed) {
        constexpr size_t kNone = SIZE_MAX;
        size_t kept = 0, starter = kNone;
        int before = -1;  // the combining class of what stands between the starter and here; -1: nothing
        for (const char32_t c : chars) {
            const int klass = combining(c);
            if (starter != kNone && before < klass) {
                if (const char32_t composite = forms.compose(chars[starter], c)) {
                    chars[starter] = composite;
                    continue;
                }
            }
            if (klass == 0) {
                starter = kept;
                before = -1;
            } else {
                before = klass;
            }
            chars[kept++] = c;
        }
        chars.resize(kept);
    }
    for (const char32_t c : chars) utf8::append(out, c);
    if (chars.capacity() > 1 << 16) chars = {};
}

// p, moved over ASCII.
const char* skip_ascii(const char* p, const char* end) {
    while (end - p >= 8) {
        uint64_t word;
        std::memcpy(&word, p, 8);
        if (word & 0x8080808080808080u) break;
        p += 8;
    }
    while (p < end && static_cast<unsigned char>(*p) < 0x80) p++;
    return p;
}

}  // namespace

bool normalize(NormalForm form, std::string_view text, std::string& out) {
    const Forms& forms = Forms::get();
    const char* const begin = text.data();
    const char* const end = begin + text.size();
    const char* copied = begin;  // up to here `out` has it
    const char* p = begin;
    bool changed = false;
    while (true) {
        // Forward over what stays as it is; a segment to normalize begins with the character before, which may join.
        const char* last = p;
        while (p < end) {
            if (static_cast<unsigned char>(*p) < 0x80) {
                p = skip_ascii(p, end);
                last = p - 1;
                continue;
            }
            const char* q = p;
            if (forms[utf8::next(q)].touched & bit(form)) break;
            last = p;
            p = q;
        }
        if (p == end) break;
        const char* segment = last;
        while (p < end) {
            const char* q = p;
            if ((forms[utf8::next(q)].touched & bit(form)) == 0) break;
            p = q;
        }
        if (!changed) {
            out.clear();
            out.reserve(text.size());
            changed = true;
        }
        out.append(copied, segment);
        normalize_segment(forms, form, {segment, static_cast<size_t>(p - segment)}, out);
        copied = p;
    }
    if (changed) out.append(copied, end);
    return changed;
}

namespace {

// Writes what remains of the characters for which `keep` is true, each through `map`.
template <class Keep, class Map>
void filter(std::string_view text, std::string& out, bool& at_start, Keep keep, Map map) {
    for (const char *p = text.data(), *end = p + text.size(); p < end;) {
        const bool first = p == text.data();
        const char32_t c = utf8::next(p);
        if (keep(c)) {
            utf8::append(out, map(c));
        } else if (first) {
            at_start = false;
        }
    }
}

bool nmt_keeps(char32_t c) {
    return !((c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F);
}

char32_t nmt_maps(char32_t c) {
    const bool space = c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
                       c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
    return space ? ' ' : c;
}

void replace(const NormalizerStep& step, std::string_view text, std::string& out, bool& at_start) {
    Pattern::Matches matches(*step.pattern);
    matches.start(text);
    size_t done = 0, begin = 0, end = 0;
    while (matches.next(begin, end)) {
        out.append(text.substr(done, begin - done));
        out.append(step.text);
        // The new text counts as standing where the last character of the old one stood.
        if (begin == 0 && end > 0 && (step.text.empty() || end > utf8::length(text[0]))) at_start = false;
        done = end;
    }
    out.append(text.substr(done));
}

std::string_view strip(const NormalizerStep& step, std::string_view text, bool& at_start) {
    const char* begin = text.data();
    const char* end = begin + text.size();
    while (step.left && begin < end) {
        const char* next = begin;
        if (!unicode::is_space(utf8::next(next))) break;
        begin = next;
        at_start = false;
    }
    while (step.right && begin < end) {
        const char* previous = end;
        if (!unicode::is_space(utf8::previous(previous))) break;
        end = previous;
    }
    return {begin, static_cast<size_t>(end - begin)};
}

void lowercase(std::string_view text, std::string& out) {
    for (const char *p = text.data(), *end = p + text.size(); p < end;) {
        const auto [first, second] = unicode::lowercase(utf8::next(p));
        utf8::append(out, first);
        if (second != 0) utf8::append(out, second);
    }
}

}  // namespace

std::string_view Normalizer::apply(std::string_view text, std::string& buffer, bool& at_start) const {
    using Kind = NormalizerStep::Kind;
    std::string next;
    for (const NormalizerStep& step : steps_) {
        if (text.empty()) return text;
        bool changed = true;
        next.clear();
        switch (step.kind) {
            case Kind::nfc:
                changed = normalize(NormalForm::nfc, text, next);
                break;
            case Kind::nfd:
                changed = normalize(NormalForm::nfd, text, next);
                break;
            case Kind::nfkc:
                changed = normalize(NormalForm::nfkc, text, next);
                break;
            case Kind::nfkd:
                changed = normalize(NormalForm::nfkd, text, next);
                break;
            case Kind::replace:
                replace(step, text, next, at_start);
                break;
            case Kind::prepend:
                next.append(step.text).append(text);
                break;
            case Kind::strip:
                text = strip(step, text, at_start);
                changed = false;
                break;
            case Kind::lowercase:
                lowercase(text, next);
                break;
            case Kind::strip_accents:
                filter(
                    text, next, at_start, [](char32_t c) { return !unicode::has(c, unicode::kAccent); },
                    [](char32_t c) { return c; });
                break;
            case Kind::nmt:
                filter(text, next, at_start, nmt_keeps, nmt_maps);
                break;
            case Kind::byte_level:
                byte_level::append_encoded(next, text);
                break;
        }
        if (!changed) continue;
        std::swap(next, buffer);  // `text` may have been in buffer: it is read no more
        text = buffer;
    }
    return text;
}

}  // namespace nibble::text
