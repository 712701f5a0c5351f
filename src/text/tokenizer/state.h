// Tokenizer::State: the parts of a tokenizer, and what is looked up by id. For tokenizer.cpp and detokenizer.cpp.
#pragma once

#include "text/tokenizer.h"
#include "text/tokenizer/tokenizer_file.h"

namespace nibble::text {

// Strings by id, in one piece of memory.
class StringsById {
public:
    void append(std::string_view text) {
        bytes_.append(text);
        ends_.push_back(bytes_.size());
    }
    std::string_view operator[](TokenId id) const {  // empty for an id that is not there
        if (id < 0 || static_cast<size_t>(id) >= ends_.size()) return {};
        const size_t begin = id == 0 ? 0 : ends_[id - 1];
        return std::string_view(bytes_).substr(begin, ends_[id] - begin);
    }

private:
    std::string bytes_;
    std::vector<size_t> ends_;
};

struct Tokenizer::State {
    std::unique_ptr<const TokenizerParts> parts;
    StringsById prepared;  // what DecodeStream takes
    StringsById bytes;     // token_bytes, unless it is `prepared`
    bool prepared_is_bytes = true;
    std::vector<uint8_t> known;  // by id: kKnown, kSpecial
    static constexpr uint8_t kKnown = 1, kSpecial = 2;

    explicit State(std::unique_ptr<const TokenizerParts> parts);
    uint8_t flags(TokenId id) const { return id >= 0 && static_cast<size_t>(id) < known.size() ? known[id] : 0; }
    bool is_shown(TokenId id, bool skip_special) const {
        return (flags(id) & (skip_special ? kKnown | kSpecial : kKnown)) == kKnown;
    }
    void encode(std::string_view text, bool parse_special, std::vector<TokenId>& out) const;
    void encode_part(std::string_view text, bool at_start, bool parse_special, std::vector<TokenId>& out) const;
};

}  // namespace nibble::text
