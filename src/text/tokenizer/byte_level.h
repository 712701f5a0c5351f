// The byte-level alphabet of GPT-2: every byte is written as one printable character, so that text is any bytes.
//
// 33–126, 161–172 and 174–255 stand for themselves; the other 68 bytes, in order, are U+0100, U+0101, …
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace nibble::text::byte_level {

inline constexpr char32_t kAlphabetEnd = 0x144;

inline constexpr std::array<char32_t, 256> kCharOfByte = [] {
    std::array<char32_t, 256> table{};
    char32_t next = 0x100;
    for (int b = 0; b < 256; b++) {
        const bool itself = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        table[b] = itself ? static_cast<char32_t>(b) : next++;
    }
    return table;
}();

// The byte of a character, or -1.
inline constexpr std::array<int16_t, kAlphabetEnd> kByteOfChar = [] {
    std::array<int16_t, kAlphabetEnd> table{};
    for (auto& b : table) b = -1;
    for (int b = 0; b < 256; b++) table[kCharOfByte[b]] = static_cast<int16_t>(b);
    return table;
}();

void append_encoded(std::string& out, std::string_view bytes);
// False, and `out` as it was, when `text` has a character outside the alphabet.
bool append_decoded(std::string& out, std::string_view text);

}  // namespace nibble::text::byte_level
