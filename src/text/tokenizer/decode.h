// DecodeChain: what the decoder of a tokenizer.json makes of pieces. DecodeStream: the same, piece by piece.
//
// A whole text is decoded by streaming it, so the two cannot differ. Steps that look at one piece alone are applied to
// the vocabulary at load (prepare); what is left may depend on the pieces around, and is a chain of small machines,
// each passing on what has become certain. A chain is immutable and for any thread; a stream belongs to one.
#pragma once

#include "text/tokenizer/pattern.h"
#include "text/tokenizer/utf8.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::text {

struct DecoderStep {
    enum class Kind : uint8_t {
        byte_level,     // the byte-level alphabet to bytes, all pieces together to text
        replace,        // in every piece
        byte_fallback,  // runs of <0xNN> pieces to text, or to U+FFFD for each when they are no UTF-8
        fuse,           // all pieces become one
        strip,          // of every piece, up to so many of a character at the ends
        metaspace,      // the mark becomes a space, or nothing in the first piece
        word_suffix,    // in every piece: a space, or nothing in the last piece
        join_spaces,    // no decoder: a space between pieces
    } kind;
    std::optional<Pattern> pattern = {};    // replace
    std::string text = {};                  // replace: the new text; metaspace: the mark; word_suffix
    bool drops_first = false;               // metaspace
    char32_t character = 0;                 // strip
    size_t strip_begin = 0, strip_end = 0;  // strip: at most so many
};

class DecodeChain {
public:
    static constexpr size_t kMaxSteps = 16;

    DecodeChain() = default;
    explicit DecodeChain(std::vector<DecoderStep> steps);  // at most kMaxSteps
    DecodeChain(DecodeChain&&) = default;
    DecodeChain& operator=(DecodeChain&&) = default;

    // What a stream takes for a piece: once a piece, at load.
    std::string prepare(std::string_view piece) const;
    // The bytes that a prepared piece stands for in the middle of a text.
    std::string middle(std::string_view prepared) const;
    // Prepared pieces are bytes, which put together and made valid are the text.
    bool is_bytes() const { return bytes_first_ && steps_.size() == alone_ + 1; }
    bool strips_leading_space() const;

private:
    friend class DecodeStream;
    std::vector<DecoderStep> steps_;
    size_t alone_ = 0;          // so many steps at the front look at one piece alone
    bool bytes_first_ = false;  // the step after them is byte_level, and prepare() has already undone the alphabet
};

class DecodeStream {
public:
    explicit DecodeStream(const DecodeChain& chain);         // which outlives it
    void push(std::string_view prepared, std::string& out);  // appends what became certain
    void flush(std::string& out);                            // the end; the stream is then as new

private:
    struct Stage {
        const DecoderStep* step;
        std::string buffer = {};  // of the current piece, what cannot be passed on yet
        std::string last = {};    // word_suffix: the piece before
        std::string bytes = {};   // byte_fallback: the run so far
        utf8::LossyDecoder lossy = {};
        size_t pieces = 0;    // finished
        size_t to_strip = 0;  // strip: left at the beginning of this piece
        size_t held = 0;      // strip: characters that may be at its end
        bool fresh = true;    // strip: this piece has not begun
    };
    void part(size_t index, std::string_view text);  // of a piece; whole characters
    void end_piece(size_t index);
    void flush_from(size_t index);
    void strip(size_t index, std::string_view text);
    void replace(size_t index, bool end);
    void fall_back(size_t index);
    void flush_bytes(size_t index);

    std::vector<Stage> stages_;
    bool raw_bytes_;  // the first stage is byte_level and gets bytes
    std::string* out_ = nullptr;
};

}  // namespace nibble::text
