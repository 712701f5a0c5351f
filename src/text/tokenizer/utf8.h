// UTF-8: reading code points from valid text, writing them, and making any bytes valid.
//
// encode() makes its input valid once; everything below it may then read without checks. No state except
// LossyDecoder's, which belongs to one thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace nibble::text::utf8 {

inline constexpr char32_t kReplacement = 0xFFFD;
inline constexpr std::string_view kReplacementBytes = "\xEF\xBF\xBD";

// The bytes of the sequence that begins with `lead`, in valid text.
inline size_t length(char lead) {
    const auto byte = static_cast<unsigned char>(lead);
    return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

inline bool is_continuation(char byte) {
    return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

// The code point at p, which is moved past it. p points at a sequence of valid text.
inline char32_t next(const char*& p) {
    const auto b = [&](int i) { return static_cast<char32_t>(static_cast<unsigned char>(p[i])); };
    const char32_t lead = b(0);
    if (lead < 0x80) {
        p += 1;
        return lead;
    }
    if (lead < 0xE0) {
        const char32_t c = (lead & 0x1F) << 6 | (b(1) & 0x3F);
        p += 2;
        return c;
    }
    if (lead < 0xF0) {
        const char32_t c = (lead & 0x0F) << 12 | (b(1) & 0x3F) << 6 | (b(2) & 0x3F);
        p += 3;
        return c;
    }
    const char32_t c = (lead & 0x07) << 18 | (b(1) & 0x3F) << 12 | (b(2) & 0x3F) << 6 | (b(3) & 0x3F);
    p += 4;
    return c;
}

inline char32_t at(const char* p) {
    return next(p);
}

// The code point that ends before p, which is moved to its beginning. There is one.
inline char32_t previous(const char*& p) {
    do {
        --p;
    } while (is_continuation(*p));
    return at(p);
}

void append(std::string& out, char32_t code_point);
std::string encode(char32_t code_point);

bool is_valid(std::string_view bytes);
bool is_ascii(std::string_view bytes);

// Bytes as they come to valid text: every maximal part of a broken sequence becomes one U+FFFD, as Rust's
// from_utf8_lossy and Python's errors="replace" do it.
class LossyDecoder {
public:
    void push(std::string_view bytes, std::string& out);
    void flush(std::string& out);  // the end: an incomplete sequence becomes one U+FFFD

private:
    char held_[4] = {};  // the beginning of a sequence that may still be completed
    size_t held_size_ = 0;
};

std::string lossy(std::string_view bytes);

}  // namespace nibble::text::utf8
