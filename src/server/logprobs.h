// Log-probabilities of tokens in the three shapes that clients know: chat's list of objects, the older completions'
// four parallel lists, and the prompt_logprobs extension. Appended as JSON while the tokens come.
#pragma once

#include "engine/request.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <string>
#include <vector>

namespace nibble::server {

// The token as a string by itself. Bytes that are a part of a character only are written \xNN (completions: "bytes:"
// before them), so that different tokens keep different names. as_id: "token_id:N".
std::string token_name(const text::Tokenizer& tokenizer, text::TokenId id, bool as_id, std::string_view bytes_prefix);

// {"token", "logprob", "bytes", "top_logprobs": [...]}, one element of choices[].logprobs.content.
void append_chat_logprob(std::string& out, const text::Tokenizer& tokenizer, const engine::TokenLogprob& chosen,
                         const std::vector<engine::TokenLogprob>& top, bool as_id);

// choices[].logprobs of completions.
class CompletionLogprobs {
public:
    CompletionLogprobs(const text::Tokenizer& tokenizer, bool as_id) : tokenizer_(tokenizer), as_id_(as_id) {}
    void add(const engine::TokenLogprob& chosen, const std::vector<engine::TokenLogprob>& top, int k);
    // The first of a prompt: nothing tells its probability.
    void add_unknown(engine::TokenId token);
    bool empty() const { return count_ == 0; }
    // The object of all since the last call; offsets go on.
    std::string take();

private:
    void add_name(engine::TokenId token);

    const text::Tokenizer& tokenizer_;
    bool as_id_;
    int64_t count_ = 0;
    int64_t offset_ = 0;  // characters of text before the next token
    std::string tokens_, logprobs_, tops_, offsets_;
};

// [null, {"ID": {"logprob", "rank", "decoded_token"}, …}, …], one entry a prompt token.
std::string prompt_logprobs_json(const text::Tokenizer& tokenizer,
                                 const std::vector<engine::TokenEvent::PromptLogprob>& entries);

}  // namespace nibble::server
