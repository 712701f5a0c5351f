// AddedTokens: the tokens that are looked for in the text itself, before it is cut into words.
//
// Longest match at the leftmost place, then the token's own conditions; as the Python package does it, down to its
// corners (a token that is refused still ends the search there; stripped spaces may be matched again). The search costs
// at most one step a byte of the longest token for each byte of text. Immutable after load; any thread.
#pragma once

#include "base/result.h"
#include "text/tokenizer.h"
#include "text/tokenizer/normalize.h"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::text {

class AddedTokens {
public:
    static constexpr size_t kMaxContent = 1024;  // bytes

    AddedTokens() = default;
    // Errors: model_invalid, for two tokens that are the same after normalization.
    static Result<AddedTokens> build(std::vector<AddedToken> tokens, const Normalizer& normalizer);

    const std::vector<AddedToken>& all() const { return tokens_; }
    const AddedToken* find(int32_t id) const;
    const AddedToken* find(std::string_view content) const;
    // What the id is decoded from: the content, or for a token that is normalized what it is normalized to.
    const std::string& decoded_from(const AddedToken& token) const { return decoded_from_[&token - tokens_.data()]; }
    // Decoding skips what looks like a special token, whatever its id.
    bool looks_special(std::string_view piece) const;

    enum class In : uint8_t { raw_text, normalized_text };
    // Cuts the text: calls text_part(begin, end) and token(id) in order, no part empty.
    template <class TextPart, class Token>
    void split(std::string_view text, In where, TextPart&& text_part, Token&& token) const {
        const Trie& trie = tries_[static_cast<size_t>(where)];
        if (trie.nodes.empty()) {
            if (!text.empty()) text_part(size_t{0}, text.size());
            return;
        }
        size_t done = 0;
        for (size_t at = 0; at < text.size();) {
            Match match;
            if (!find_match(trie, text, at, match)) break;
            at = match.end;
            if (!fit(text, done, match)) continue;
            if (done < match.begin) text_part(done, match.begin);
            if (match.begin < match.end) token(match.token->id);
            done = match.end;
        }
        if (done < text.size()) text_part(done, text.size());
    }

private:
    struct Trie {
        struct Node {
            int32_t token = -1;                                            // index into tokens_
            std::vector<std::pair<unsigned char, int32_t>> children = {};  // sorted by byte
        };
        std::vector<Node> nodes;                         // 0: the root; empty: no tokens
        std::array<int32_t, 256> roots{};                // the root's children by byte; 0: none
        bool add(std::string_view text, int32_t token);  // false: there already
    };
    struct Match {
        size_t begin = 0, end = 0;
        const AddedToken* token = nullptr;
    };
    bool find_match(const Trie& trie, std::string_view text, size_t from, Match& match) const;
    bool fit(std::string_view text, size_t done, Match& match) const;

    std::vector<AddedToken> tokens_;  // by id
    std::vector<std::string> decoded_from_;
    std::vector<uint32_t> by_content_;  // sorted by content
    std::array<Trie, 2> tries_;
};

}  // namespace nibble::text
