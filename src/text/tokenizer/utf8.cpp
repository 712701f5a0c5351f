#include "text/tokenizer/utf8.h"

#include <simdjson.h>

#include <cstring>

namespace nibble::text::utf8 {
namespace {

// How a sequence may go on. Table 3-7 of the Unicode Standard: the second byte is restricted after E0, ED, F0 and F4.
struct Expectation {
    size_t length;  // 0: no sequence begins so
    unsigned char second_min, second_max;
};

Expectation expect(unsigned char lead) {
    if (lead < 0x80) return {1, 0, 0};
    if (lead < 0xC2 || lead > 0xF4) return {0, 0, 0};
    if (lead < 0xE0) return {2, 0x80, 0xBF};
    if (lead < 0xF0) {
        return {3, static_cast<unsigned char>(lead == 0xE0 ? 0xA0 : 0x80),
                static_cast<unsigned char>(lead == 0xED ? 0x9F : 0xBF)};
    }
    return {4, static_cast<unsigned char>(lead == 0xF0 ? 0x90 : 0x80),
            static_cast<unsigned char>(lead == 0xF4 ? 0x8F : 0xBF)};
}

bool may_follow(const Expectation& e, size_t position, unsigned char byte) {
    if (position == 1) return byte >= e.second_min && byte <= e.second_max;
    return byte >= 0x80 && byte <= 0xBF;
}

}  // namespace

void append(std::string& out, char32_t c) {
    if (c < 0x80) {
        out.push_back(static_cast<char>(c));
        return;
    }
    char bytes[4];
    size_t n = 0;
    if (c < 0x800) {
        bytes[n++] = static_cast<char>(0xC0 | c >> 6);
    } else {
        if (c < 0x10000) {
            bytes[n++] = static_cast<char>(0xE0 | c >> 12);
        } else {
            bytes[n++] = static_cast<char>(0xF0 | c >> 18);
            bytes[n++] = static_cast<char>(0x80 | (c >> 12 & 0x3F));
        }
        bytes[n++] = static_cast<char>(0x80 | (c >> 6 & 0x3F));
    }
    bytes[n++] = static_cast<char>(0x80 | (c & 0x3F));
    out.append(bytes, n);
}

std::string encode(char32_t c) {
    std::string out;
    append(out, c);
    return out;
}

bool is_valid(std::string_view bytes) {
    return simdjson::validate_utf8(bytes.data(), bytes.size());
}

bool is_ascii(std::string_view bytes) {
    const char* p = bytes.data();
    const char* const end = p + bytes.size();
    uint64_t any = 0;
    for (; end - p >= 8; p += 8) {
        uint64_t word;
        std::memcpy(&word, p, 8);
        any |= word;
    }
    for (; p < end; p++) any |= static_cast<unsigned char>(*p);
    return (any & 0x8080808080808080u) == 0;
}

void LossyDecoder::push(std::string_view bytes, std::string& out) {
    size_t i = 0;
    while (i < bytes.size()) {
        if (held_size_ == 0) {
            // Whole sequences are copied by the run.
            const size_t begin = i;
            while (i < bytes.size()) {
                const Expectation e = expect(static_cast<unsigned char>(bytes[i]));
                if (e.length == 0 || e.length > bytes.size() - i) break;
                size_t k = 1;
                while (k < e.length && may_follow(e, k, static_cast<unsigned char>(bytes[i + k]))) k++;
                if (k < e.length) break;
                i += e.length;
            }
            out.append(bytes.substr(begin, i - begin));
            if (i == bytes.size()) return;
            if (expect(static_cast<unsigned char>(bytes[i])).length == 0) {
                out.append(kReplacementBytes);
                i++;
                continue;
            }
            held_[held_size_++] = bytes[i++];
            continue;
        }
        const Expectation e = expect(static_cast<unsigned char>(held_[0]));
        if (may_follow(e, held_size_, static_cast<unsigned char>(bytes[i]))) {
            held_[held_size_++] = bytes[i++];
            if (held_size_ == e.length) {
                out.append(held_, held_size_);
                held_size_ = 0;
            }
        } else {
            flush(out);  // the byte that breaks the sequence is looked at anew
        }
    }
}

void LossyDecoder::flush(std::string& out) {
    if (held_size_ > 0) out.append(kReplacementBytes);
    held_size_ = 0;
}

std::string lossy(std::string_view bytes) {
    std::string out;
    out.reserve(bytes.size());
    LossyDecoder decoder;
    decoder.push(bytes, out);
    decoder.flush(out);
    return out;
}

}  // namespace nibble::text::utf8
