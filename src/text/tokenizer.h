// Tokenizer: text <-> token ids, as the checkpoint's tokenizer.json says (Hugging Face `tokenizers` format, model BPE).
//
// Immutable after load: any thread may call any const member. Encoding is linear in the text (n log n inside one word),
// whatever the text; nothing recurses with it. The oracle is the Python package `tokenizers`; how it works is in
// text/tokenizer/.
#pragma once

#include "base/folder.h"
#include "base/result.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::text {

using TokenId = int32_t;

struct EncodeOptions {
    // false: added tokens in the text are encoded literally, and no special token of more than one character comes out
    // of it by any way (untrusted text)
    bool parse_special = true;
    bool add_special_tokens = false;  // true: what the post_processor adds (BOS of Gemma, Llama), like Python's default
};

struct AddedToken {
    TokenId id;
    std::string content;
    bool special, lstrip, rstrip, single_word, normalized;
};

class Tokenizer {
public:
    // Reads folder/tokenizer.json and, where present, folder/tokenizer_config.json (added_tokens_decoder is merged, its
    // flags win; a contradiction of ids is refused). Errors: not_found, io; model_invalid and unsupported, with file,
    // field, expected, found.
    static Result<std::shared_ptr<const Tokenizer>> load(const Folder& folder);
    // The same from memory; `config_json` may be empty. `name` stands in error messages for the file.
    static Result<std::shared_ptr<const Tokenizer>> parse(std::string_view tokenizer_json, std::string_view config_json,
                                                          std::string_view name);
    ~Tokenizer();

    // Bytes of `text` that are no UTF-8 are read as U+FFFD.
    std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options = {}) const;

    // Text of all ids at once, as Python's decode(ids, skip_special_tokens) without clean_up_tokenization_spaces.
    // An id outside the vocabulary contributes nothing. Bytes that are no UTF-8 become U+FFFD.
    std::string decode(std::span<const TokenId> ids, bool skip_special_tokens) const;

    // The raw bytes that the id stands for in the middle of a text, after the decoder (byte-level alphabet undone, ▁ to
    // space, <0xNN> to its byte; added tokens too). Empty for an unknown id. May be a part of a UTF-8 sequence.
    std::string_view token_bytes(TokenId id) const;
    // The piece as written in the vocabulary ("Ġthe"); the content of an added token. Empty for an unknown id.
    std::string_view token_piece(TokenId id) const;
    std::optional<TokenId> token_id(std::string_view piece) const;  // vocabulary or added token

    bool is_special(TokenId id) const;  // skipped by skip_special_tokens
    bool is_known(TokenId id) const;
    int32_t vocab_size() const;  // 1 + the largest id that the tokenizer knows
    std::span<const AddedToken> added_tokens() const;

    // From tokenizer_config.json (content strings; empty when absent).
    const std::string& bos_token() const;
    const std::string& eos_token() const;
    std::optional<TokenId> eos_id() const;
    bool decode_strips_leading_space() const;  // decoders that drop the first space of a text (SentencePiece style)

private:
    friend class Detokenizer;
    struct State;
    explicit Tokenizer(std::unique_ptr<const State> state);
    std::unique_ptr<const State> state_;
};

}  // namespace nibble::text
