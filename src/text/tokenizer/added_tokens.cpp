#include "text/tokenizer/added_tokens.h"

#include "text/tokenizer/utf8.h"

#include <algorithm>
#include <numeric>

namespace nibble::text {

bool AddedTokens::Trie::add(std::string_view text, int32_t token) {
    if (nodes.empty()) nodes.emplace_back();
    int32_t at = 0;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        auto& children = nodes[at].children;
        const auto place = std::lower_bound(children.begin(), children.end(), std::pair{byte, int32_t{0}});
        if (place != children.end() && place->first == byte) {
            at = place->second;
            continue;
        }
        const auto fresh = static_cast<int32_t>(nodes.size());
        children.insert(place, {byte, fresh});
        if (at == 0) roots[byte] = fresh;
        nodes.emplace_back();
        at = fresh;
    }
    if (nodes[at].token >= 0) return false;
    nodes[at].token = token;
    return true;
}

Result<AddedTokens> AddedTokens::build(std::vector<AddedToken> tokens, const Normalizer& normalizer) {
    AddedTokens added;
    std::sort(tokens.begin(), tokens.end(), [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
    added.tokens_ = std::move(tokens);
    std::string buffer;
    for (size_t i = 0; i < added.tokens_.size(); i++) {
        const AddedToken& token = added.tokens_[i];
        bool at_start = true;
        added.decoded_from_.emplace_back(token.normalized ? normalizer.apply(token.content, buffer, at_start)
                                                          : std::string_view(token.content));
        const std::string& pattern = added.decoded_from_.back();
        if (pattern.empty()) {
            return error(
                ErrorCode::model_invalid,
                "added token {} \"{}\": expected something to be left of it after normalization, found nothing",
                token.id, token.content);
        }
        const In where = token.normalized ? In::normalized_text : In::raw_text;
        if (!added.tries_[static_cast<size_t>(where)].add(pattern, static_cast<int32_t>(i))) {
            return error(ErrorCode::model_invalid,
                         "added token {} \"{}\": expected tokens that differ after normalization, found the same twice",
                         token.id, token.content);
        }
    }
    added.by_content_.resize(added.tokens_.size());
    std::iota(added.by_content_.begin(), added.by_content_.end(), 0);
    std::sort(added.by_content_.begin(), added.by_content_.end(),
              [&](uint32_t a, uint32_t b) { return added.tokens_[a].content < added.tokens_[b].content; });
    return added;
}

const AddedToken* AddedTokens::find(int32_t id) const {
    const auto place = std::lower_bound(tokens_.begin(), tokens_.end(), id,
                                        [](const AddedToken& token, int32_t wanted) { return token.id < wanted; });
    return place != tokens_.end() && place->id == id ? &*place : nullptr;
}

const AddedToken* AddedTokens::find(std::string_view content) const {
    const auto place =
        std::lower_bound(by_content_.begin(), by_content_.end(), content,
                         [&](uint32_t i, std::string_view wanted) { return tokens_[i].content < wanted; });
    return place != by_content_.end() && tokens_[*place].content == content ? &tokens_[*place] : nullptr;
}

bool AddedTokens::looks_special(std::string_view piece) const {
    const AddedToken* token = find(piece);
    return token != nullptr && token->special;
}

bool AddedTokens::find_match(const Trie& trie, std::string_view text, size_t from, Match& match) const {
    for (size_t begin = from; begin < text.size(); begin++) {
        int32_t node = trie.roots[static_cast<unsigned char>(text[begin])];
        if (node == 0) continue;
        match.token = nullptr;
        for (size_t at = begin + 1;; at++) {
            if (trie.nodes[node].token >= 0) {
                match = {begin, at, &tokens_[trie.nodes[node].token]};
            }
            if (at == text.size()) break;
            const auto byte = static_cast<unsigned char>(text[at]);
            const auto& children = trie.nodes[node].children;
            const auto place = std::lower_bound(children.begin(), children.end(), std::pair{byte, int32_t{0}});
            if (place == children.end() || place->first != byte) break;
            node = place->second;
        }
        if (match.token != nullptr) return true;
    }
    return false;
}

// Whether a single word is one here; then the match with the spaces that the token takes along. `done` is where the
// token before ended: spaces before it are taken already.
bool AddedTokens::fit(std::string_view text, size_t done, Match& match) const {
    const char* const data = text.data();
    const AddedToken& token = *match.token;
    if (token.single_word) {
        const char* before = data + match.begin;
        if (match.begin > 0 && unicode::has(utf8::previous(before), unicode::kPlainWord)) return false;
        if (match.end < text.size() && unicode::has(utf8::at(data + match.end), unicode::kPlainWord)) return false;
    }
    if (token.lstrip) {
        const char* begin = data + match.begin;
        while (begin > data + done) {
            const char* p = begin;
            if (!unicode::is_space(utf8::previous(p))) break;
            begin = p;
        }
        match.begin = std::max(static_cast<size_t>(begin - data), done);
    }
    if (token.rstrip) {
        const char* end = data + match.end;
        while (end < data + text.size()) {
            const char* p = end;
            if (!unicode::is_space(utf8::next(p))) break;
            end = p;
        }
        match.end = static_cast<size_t>(end - data);
    }
    return true;
}

}  // namespace nibble::text
