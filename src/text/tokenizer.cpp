#include "text/tokenizer.h"

#include "text/tokenizer/state.h"
#include "text/tokenizer/utf8.h"

#include <algorithm>

namespace nibble::text {
namespace {

constexpr uint64_t kFileLimit_bytes = uint64_t{1} << 30;

}  // namespace

Tokenizer::State::State(std::unique_ptr<const TokenizerParts> given) : parts(std::move(given)) {
    const Vocabulary& vocabulary = parts->vocabulary;
    const AddedTokens& added = parts->added;
    TokenId end = vocabulary.id_end();
    if (!added.all().empty()) end = std::max(end, added.all().back().id + 1);
    known.resize(static_cast<size_t>(end));
    prepared_is_bytes = parts->decoder.is_bytes();
    for (TokenId id = 0; id < end; id++) {
        const AddedToken* token = added.find(id);
        if (token == nullptr && !vocabulary.has(id)) {
            prepared.append({});
            if (!prepared_is_bytes) bytes.append({});
            continue;
        }
        const std::string_view piece = token != nullptr ? added.decoded_from(*token) : vocabulary.piece(id);
        known[id] = static_cast<uint8_t>(kKnown | (added.looks_special(piece) ? kSpecial : 0));
        const std::string ready = parts->decoder.prepare(piece);
        prepared.append(ready);
        if (!prepared_is_bytes) bytes.append(parts->decoder.middle(ready));
    }
}

void Tokenizer::State::encode(std::string_view text, bool parse_special, std::vector<TokenId>& out) const {
    if (!parse_special) {
        encode_part(text, true, false, out);
        return;
    }
    parts->added.split(
        text, AddedTokens::In::raw_text,
        [&](size_t begin, size_t end) { encode_part(text.substr(begin, end - begin), begin == 0, true, out); },
        [&](TokenId id) { out.push_back(id); });
}

// A text without raw added tokens: normalized, looked through for the normalized ones, cut, and encoded.
void Tokenizer::State::encode_part(std::string_view text, bool at_start, bool parse_special,
                                   std::vector<TokenId>& out) const {
    std::string buffer;
    const std::string_view normalized = parts->normalizer.apply(text, buffer, at_start);
    const auto words = [&](size_t begin, size_t end) {
        parts->pre_tokenizer.run(normalized.substr(begin, end - begin), at_start && begin == 0,
                                 [&](std::string_view word) { parts->bpe->encode(word, !parse_special, out); });
    };
    if (!parse_special) {
        words(0, normalized.size());
        return;
    }
    parts->added.split(normalized, AddedTokens::In::normalized_text, words, [&](TokenId id) { out.push_back(id); });
}

Tokenizer::Tokenizer(std::unique_ptr<const State> state) : state_(std::move(state)) {}
Tokenizer::~Tokenizer() = default;

Result<std::shared_ptr<const Tokenizer>> Tokenizer::load(const Folder& folder) {
    if (!folder.has("tokenizer.json"))
        return error(ErrorCode::not_found, "{}: expected a tokenizer.json in the folder, found none", folder.string());
    TRY(const std::string json, folder.read("tokenizer.json", kFileLimit_bytes));
    std::string config;
    if (folder.has("tokenizer_config.json")) {
        TRY(config, folder.read("tokenizer_config.json", kFileLimit_bytes));
        if (config.empty())
            return error(ErrorCode::model_invalid, "{}: expected JSON, found nothing",
                         folder.string("tokenizer_config.json"));
    }
    return parse(json, config, folder.string("tokenizer.json"));
}

Result<std::shared_ptr<const Tokenizer>> Tokenizer::parse(std::string_view tokenizer_json, std::string_view config_json,
                                                          std::string_view name) {
    TRY(auto parts, read_tokenizer(tokenizer_json, config_json, name));
    return std::shared_ptr<const Tokenizer>(new Tokenizer(std::make_unique<const State>(std::move(parts))));
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
    std::string valid;
    if (!utf8::is_valid(text)) {
        valid = utf8::lossy(text);
        text = valid;
    }
    std::vector<TokenId> ids;
    ids.reserve(text.size() / 4 + 8);
    state_->encode(text, options.parse_special, ids);
    if (!options.add_special_tokens) return ids;
    for (const PostStep& step : state_->parts->post_steps) {
        std::vector<TokenId> before, after;
        bool passed = false;
        for (const PostPart& part : step) {
            std::vector<TokenId>& side = passed ? after : before;
            side.insert(side.end(), part.ids.begin(), part.ids.end());
            passed = passed || part.is_text;
        }
        ids.insert(ids.begin(), before.begin(), before.end());
        ids.insert(ids.end(), after.begin(), after.end());
    }
    return ids;
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special_tokens) const {
    std::string out;
    if (state_->prepared_is_bytes) {
        for (const TokenId id : ids) {
            if (state_->is_shown(id, skip_special_tokens)) out.append(state_->prepared[id]);
        }
        return utf8::is_valid(out) ? out : utf8::lossy(out);
    }
    DecodeStream stream(state_->parts->decoder);
    for (const TokenId id : ids) {
        if (state_->is_shown(id, skip_special_tokens)) stream.push(state_->prepared[id], out);
    }
    stream.flush(out);
    return out;
}

std::string_view Tokenizer::token_bytes(TokenId id) const {
    return state_->prepared_is_bytes ? state_->prepared[id] : state_->bytes[id];
}

std::string_view Tokenizer::token_piece(TokenId id) const {
    if (const AddedToken* token = state_->parts->added.find(id)) return token->content;
    return state_->parts->vocabulary.piece(id);
}

std::optional<TokenId> Tokenizer::token_id(std::string_view piece) const {
    if (const AddedToken* token = state_->parts->added.find(piece)) return token->id;
    const TokenId id = state_->parts->vocabulary.find(piece);
    if (id == Vocabulary::kNone) return std::nullopt;
    return id;
}

bool Tokenizer::is_special(TokenId id) const {
    return (state_->flags(id) & State::kSpecial) != 0;
}
bool Tokenizer::is_known(TokenId id) const {
    return (state_->flags(id) & State::kKnown) != 0;
}
int32_t Tokenizer::vocab_size() const {
    return static_cast<int32_t>(state_->known.size());
}
std::span<const AddedToken> Tokenizer::added_tokens() const {
    return state_->parts->added.all();
}
const std::string& Tokenizer::bos_token() const {
    return state_->parts->bos_token;
}
const std::string& Tokenizer::eos_token() const {
    return state_->parts->eos_token;
}

std::optional<TokenId> Tokenizer::eos_id() const {
    if (eos_token().empty()) return std::nullopt;
    return token_id(eos_token());
}

bool Tokenizer::decode_strips_leading_space() const {
    return state_->parts->decoder.strips_leading_space();
}

}  // namespace nibble::text
