#include "server/logprobs.h"

#include "server/json_writer.h"

#include <fmt/format.h>

namespace nibble::server {
namespace {

// Whether the bytes are whole characters of UTF-8 (RFC 3629: no overlong forms, no surrogates).
bool is_utf8(std::string_view bytes) {
    for (size_t i = 0; i < bytes.size();) {
        const auto byte = [&](size_t k) {
            return i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : static_cast<unsigned char>(0);
        };
        const unsigned char first = byte(0), second = byte(1);
        size_t length = 1;
        if (first >= 0x80) {
            if (first >= 0xc2 && first <= 0xdf)
                length = 2;
            else if ((first & 0xf0) == 0xe0)
                length = 3;
            else if (first >= 0xf0 && first <= 0xf4)
                length = 4;
            else
                return false;
            if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
                (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f))
                return false;
            for (size_t k = 1; k < length; ++k)
                if ((byte(k) & 0xc0) != 0x80) return false;
        }
        i += length;
    }
    return true;
}

// Characters begun in these bytes, so that sums over the parts of a character come out right.
int64_t characters(std::string_view bytes) {
    int64_t count = 0;
    for (const char c : bytes) count += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
    return count;
}

}  // namespace

std::string token_name(const text::Tokenizer& tokenizer, text::TokenId id, bool as_id, std::string_view bytes_prefix) {
    if (as_id) return fmt::format("token_id:{}", id);
    const std::string_view bytes = tokenizer.token_bytes(id);
    if (bytes.empty() && !tokenizer.is_known(id)) return fmt::format("token_id:{}", id);
    if (is_utf8(bytes)) return std::string(bytes);
    std::string out(bytes_prefix);
    for (const char c : bytes) fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<unsigned char>(c));
    return out;
}

void append_chat_logprob(std::string& out, const text::Tokenizer& tokenizer, const engine::TokenLogprob& chosen,
                         const std::vector<engine::TokenLogprob>& top, bool as_id) {
    JsonWriter json(out);
    const auto one = [&](const engine::TokenLogprob& token) {
        json.begin_object().string("token", token_name(tokenizer, token.token, as_id, ""));
        json.key("logprob").logprob(token.logprob).key("bytes").begin_array();
        for (const char c : tokenizer.token_bytes(token.token)) json.integer(static_cast<unsigned char>(c));
        json.end_array();
    };
    one(chosen);
    json.key("top_logprobs").begin_array();
    for (const engine::TokenLogprob& token : top) {
        one(token);
        json.end_object();
    }
    json.end_array().end_object();
}

void CompletionLogprobs::add_name(engine::TokenId token) {
    JsonWriter(tokens_).string(token_name(tokenizer_, token, as_id_, "bytes:"));
    JsonWriter(offsets_).integer(offset_);
    offset_ += characters(tokenizer_.token_bytes(token));
    ++count_;
}

void CompletionLogprobs::add(const engine::TokenLogprob& chosen, const std::vector<engine::TokenLogprob>& top, int k) {
    add_name(chosen.token);
    JsonWriter(logprobs_).logprob(chosen.logprob);
    JsonWriter json(tops_);
    json.begin_object();
    bool listed = false;
    for (int i = 0; i < k && i < static_cast<int>(top.size()); ++i) {
        listed |= top[i].token == chosen.token;
        json.key(token_name(tokenizer_, top[i].token, as_id_, "bytes:")).logprob(top[i].logprob);
    }
    // The chosen token is always there, after the k likeliest when it is none of them.
    if (!listed) json.key(token_name(tokenizer_, chosen.token, as_id_, "bytes:")).logprob(chosen.logprob);
    json.end_object();
}

void CompletionLogprobs::add_unknown(engine::TokenId token) {
    add_name(token);
    JsonWriter(logprobs_).null();
    JsonWriter(tops_).null();
}

std::string CompletionLogprobs::take() {
    std::string out = fmt::format(R"({{"text_offset":[{}],"token_logprobs":[{}],"tokens":[{}],"top_logprobs":[{}]}})",
                                  offsets_, logprobs_, tokens_, tops_);
    offsets_.clear();
    logprobs_.clear();
    tokens_.clear();
    tops_.clear();
    count_ = 0;
    return out;
}

std::string prompt_logprobs_json(const text::Tokenizer& tokenizer,
                                 const std::vector<engine::TokenEvent::PromptLogprob>& entries) {
    std::string out;
    JsonWriter json(out);
    json.begin_array();
    bool first = true;
    for (const auto& entry : entries) {
        if (std::exchange(first, false)) {
            json.null();
            continue;
        }
        const auto one = [&](const engine::TokenLogprob& token) {
            json.key(std::to_string(token.token)).begin_object().key("logprob").logprob(token.logprob);
            json.integer("rank", token.rank).string("decoded_token", token_name(tokenizer, token.token, false, ""));
            json.end_object();
        };
        json.begin_object();
        bool listed = false;
        for (const engine::TokenLogprob& token : entry.top) {
            listed |= token.token == entry.chosen.token;
            one(token);
        }
        if (!listed) one(entry.chosen);
        json.end_object();
    }
    json.end_array();
    return out;
}

}  // namespace nibble::server
