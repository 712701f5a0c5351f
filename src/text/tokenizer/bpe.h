// Bpe: byte-pair encoding of single words, as the model of a tokenizer.json says.
//
// A word starts as one symbol a character (or byte), and the adjacent pair with the lowest rank, the leftmost of
// equals, is merged until none can be. Short words are searched directly and remembered per thread; long ones take n
// log n. Immutable after load; any thread.
#pragma once

#include "base/result.h"
#include "text/tokenizer/vocabulary.h"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nibble::text {

struct BpeOptions {
    std::string continuing_subword_prefix;  // written before every character but the first
    std::string end_of_word_suffix;         // written behind the last character
    int32_t unknown_id = Vocabulary::kNone;
    bool fuse_unknown = false;
    bool byte_fallback = false;
    bool ignore_merges = false;    // a word that is a piece is that piece
    bool words_are_bytes = false;  // words come as raw bytes that stand for the byte-level alphabet
};

class Bpe {
public:
    // Merges as pairs of pieces, in order of rank; a pair that comes again has its last rank. Errors: model_invalid,
    // for pieces or results that the vocabulary, which outlives this, does not have; the caller names the file.
    static Result<Bpe> build(const Vocabulary& vocabulary,
                             const std::vector<std::pair<std::string_view, std::string_view>>& merges,
                             BpeOptions options);

    // Special tokens: in `literal` text no merge and no whole word makes one of these. Before the first encode.
    void set_special(const std::vector<int32_t>& ids);

    // Appends the ids of a word: valid UTF-8, or any bytes when words are bytes.
    void encode(std::string_view word, bool literal, std::vector<int32_t>& out) const;

private:
    struct Merge {  // of two ids, in an open-addressed table
        int32_t left = Vocabulary::kNone, right = Vocabulary::kNone;
        uint32_t rank = 0;
        int32_t result = Vocabulary::kNone;
    };
    struct Symbols;
    struct Scratch;
    static Scratch& scratch();

    explicit Bpe(const Vocabulary& vocabulary, BpeOptions options);
    void put(const Merge& merge);
    const Merge* merge_of(int32_t left, int32_t right, bool literal) const;
    int32_t char_id(std::string_view character) const;
    bool is_blocked(int32_t id, bool literal) const { return literal && blocks_ && blocked_[id]; }
    void find_boundaries(const std::vector<std::pair<std::string_view, std::string_view>>& merges);
    size_t independent_prefix(std::string_view word) const;

    void encode_plain(std::string_view word, bool literal, std::vector<int32_t>& out) const;
    void first_symbols(std::string_view word, std::vector<int32_t>& ids) const;
    void merge_short(std::vector<int32_t>& ids, bool literal) const;
    void merge_long(std::vector<int32_t>& ids, bool literal) const;

    const Vocabulary* vocabulary_;
    BpeOptions options_;
    std::vector<Merge> merges_;
    size_t ranks_ = 0;
    std::array<int32_t, 256> byte_ids_{};      // words_are_bytes: of each byte's character
    std::array<int32_t, 256> fallback_ids_{};  // of <0x00> … <0xFF>
    Vocabulary byte_pieces_;                   // words_are_bytes and ignore_merges: the pieces as raw bytes
    std::vector<int32_t> bmp_ids_;             // of single characters below U+10000, unless words are bytes
    // Words of text are cut before a ' ' or '▁' where no merge reaches across: the characters that one does reach from.
    bool cuts_words_ = false;
    std::array<std::vector<char32_t>, 2> reaching_;  // sorted; before ' ', before '▁'
    std::vector<bool> blocked_;                      // by id
    bool blocks_ = false;
    uint32_t cache_owner_;  // distinguishes this object's words in the per-thread cache
};

}  // namespace nibble::text
