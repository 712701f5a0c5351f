#include "text/tokenizer/byte_level.h"

#include "text/tokenizer/utf8.h"

namespace nibble::text::byte_level {

void append_encoded(std::string& out, std::string_view bytes) {
    for (const char byte : bytes) utf8::append(out, kCharOfByte[static_cast<unsigned char>(byte)]);
}

bool append_decoded(std::string& out, std::string_view text) {
    const size_t before = out.size();
    for (const char *p = text.data(), *end = p + text.size(); p < end;) {
        const char32_t c = utf8::next(p);
        const int byte = c < kAlphabetEnd ? kByteOfChar[c] : -1;
        if (byte < 0) {
            out.resize(before);
            return false;
        }
        out.push_back(static_cast<char>(byte));
    }
    return true;
}

}  // namespace nibble::text::byte_level
