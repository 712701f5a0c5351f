// Unicode properties of code points, of the versions that the Python package `tokenizers` has (unicode_tables.cpp).
//
// All functions are pure; the tables are built on first use. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace nibble::text::unicode {

// clang-format off
enum class Category : uint8_t {
    Lu, Ll, Lt, Lm, Lo, Mn, Mc, Me, Nd, Nl, No, Pc, Pd, Ps, Pe, Pi, Pf, Po, Sm, Sc, Sk, So, Zs, Zl, Zp, Cc, Cf, Cs, Co, Cn
};
// clang-format on

// Bits of Properties::flags. The first eight are what \p{…} of a regular expression means.
inline constexpr uint16_t kAlphabetic = 1 << 0;
inline constexpr uint16_t kUppercase = 1 << 1;
inline constexpr uint16_t kLowercase = 1 << 2;
inline constexpr uint16_t kWord = 1 << 3;  // \w of Oniguruma
inline constexpr uint16_t kIdeographic = 1 << 4;
inline constexpr uint16_t kEmoji = 1 << 5;
inline constexpr uint16_t kEmojiPresentation = 1 << 6;
inline constexpr uint16_t kExtendedPictographic = 1 << 7;
inline constexpr uint16_t kPlainWord = 1 << 8;     // \w of the Whitespace pre-tokenizer and of single_word tokens
inline constexpr uint16_t kNumeric = 1 << 9;       // what the Digits pre-tokenizer cuts out
inline constexpr uint16_t kPunctuation = 1 << 10;  // what the Punctuation pre-tokenizer cuts out
inline constexpr uint16_t kAccent = 1 << 11;       // what the StripAccents normalizer removes
inline constexpr uint16_t kNormalizes = 1 << 12;   // has a decomposition or a combining class, for the normalizers

struct Properties {
    uint8_t category;
    uint16_t flags;
};

struct LowercaseRange {
    char32_t first, last;
    uint32_t stride;
    int32_t delta;
};

// All that a code point can be, and which of them it is: tables over kinds() are small and fast.
std::span<const Properties> kinds();
class KindTable {
public:
    static const KindTable& get();
    uint8_t operator[](char32_t c) const { return cells_[blocks_[c >> 8] << 8 | (c & 0xFF)]; }  // c <= 0x10FFFF

private:
    KindTable();
    uint16_t blocks_[0x1100];
    std::vector<uint8_t> cells_;
};

inline const Properties& properties(char32_t c) {
    return kinds()[KindTable::get()[c]];
}
inline bool has(char32_t c, uint16_t flag) {
    return (properties(c).flags & flag) != 0;
}

// White_Space, which has not changed since Unicode 6.3; \s everywhere.
inline bool is_space(char32_t c) {
    if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
    return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

// The lower case of one code point; U+0130 has two: {0x69, 0x307}. The second is 0 where there is none.
struct Lowercase {
    char32_t first, second;
};
Lowercase lowercase(char32_t c);
std::span<const LowercaseRange> lowercase_ranges();

struct CodePointRange {
    char32_t first, last;
};
// The code points of a script by its full name ("Han"); empty when there is no such script.
std::vector<CodePointRange> script(std::string_view name);
// Those of a kind for which `wanted` is true, ascending and not touching.
std::vector<CodePointRange> where(bool (*wanted)(const Properties&, uint32_t argument), uint32_t argument);

// The data: unicode_tables.cpp.
extern const Properties kProperties[];
extern const uint32_t kPropertyRuns[];
extern const uint32_t kScriptRuns[];
extern const char* const kScriptNames[];
extern const LowercaseRange kLowercaseRanges[];
extern const size_t kPropertyCount, kPropertyRunCount, kScriptRunCount, kScriptCount, kLowercaseRangeCount;

}  // namespace nibble::text::unicode
