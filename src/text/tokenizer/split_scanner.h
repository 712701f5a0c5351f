// SplitScanner: the split patterns of the GPT family, written by hand.
//
// GPT-2, cl100k, Llama 3, Qwen 2 to 3.5, o200k, tekken and Nemotron cut text with the same alternatives in the same
// order and differ only in each one's details. A pattern made of known details in that order is recognised, whoever
// combined them, and scanned at hundreds of MB/s instead of being interpreted (regex.h). Immutable; any thread.
//
//   contractions | letters | digits | other characters | whitespace to the last line end | \s+(?!\S) | \s+
#pragma once

#include "text/tokenizer/unicode.h"

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace nibble::text {

class SplitScanner {
public:
    static std::optional<SplitScanner> recognise(std::string_view pattern);
    static SplitScanner gpt2();  // what the ByteLevel pre-tokenizer splits with

    // The end of the match that begins at p < end, in valid UTF-8; p itself when nothing matches there.
    // Linear over the text: whatever is looked at is matched, or looked at once more.
    const char* match(const char* p, const char* end) const;

private:
    enum class Contractions : uint8_t { none, lower, any_case };
    enum class Letters : uint8_t {
        spaced,    //  ?\p{L}+
        prefixed,  // [^\r\n\p{L}\p{N}]?\p{L}+, the letters maybe with \p{M}
        cased,     // [^\r\n\p{L}\p{N}]? and a word that turns from upper to lower case at most once
    };

    SplitScanner();
    struct Char {
        uint8_t classes;
        const char* next;
    };
    Char at(const char* p) const;
    const char* run(const char* p, const char* end, uint8_t classes) const;
    const char* contraction(const char* p, const char* end, bool any_case) const;
    const char* letters(const char* p, const char* end, const Char& first) const;
    const char* cased(const char* p, const char* end, const Char& first) const;
    const char* whitespace(const char* p, const char* end) const;

    Contractions contractions_ = Contractions::none;
    Letters letters_ = Letters::spaced;
    bool contraction_suffix_ = false;  // cased: 's and the like, in any case, belong to the word
    uint8_t word_ = 0;                 // prefixed: the classes of a word
    bool spaced_digits_ = false;       //  ?\p{N}+
    int most_digits_ = 0;              // in one match; 0 for any number
    uint8_t not_other_ = 0;            // what [^…]+ of the other characters leaves out
    bool newlines_follow_ = false;     // [\r\n]* behind the other characters
    bool slashes_follow_ = false;      // [\r\n/]*
    bool line_ends_ = false;           // \s*[\r\n]+
    std::array<uint8_t, 128> ascii_{};
    std::array<uint8_t, 256> kinds_{};
    const unicode::KindTable* table_;
};

}  // namespace nibble::text
