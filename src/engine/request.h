// Request: one generation asked of the engine, in integers. TokenEvent: what comes back, one a token.
//
// Text stops before this room: prompts are ids, stop strings are the caller's to watch (it cancels when one is met).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace nibble::engine {

using TokenId = int32_t;

struct SamplingParams {
    float temperature = 1.0f;                           // under 1e-5: greedy (argmax, lowest id on ties)
    float top_p = 1.0f;                                 // (0, 1]
    int top_k = 0;                                      // 0: all
    float min_p = 0.0f;                                 // [0, 1]
    float repetition_penalty = 1.0f;                    // > 0; over prompt and output, as transformers
    float presence_penalty = 0.0f;                      // [-2, 2]; over output
    float frequency_penalty = 0.0f;                     // [-2, 2]; over output
    std::vector<std::pair<TokenId, float>> logit_bias;  // at most 1024, each in [-100, 100]; the last of a token counts
    uint64_t seed = 0;                                  // the caller draws one when the user gave none
    int logprobs = -1;                                  // -1: none; k: of the chosen token and the k likeliest, k <= 20
    int prompt_logprobs = -1;                           // the same for the prompt's tokens (from the second on)
    int max_tokens = 16;  // clipped to what the context leaves; 0: the prompt is only read
    int min_tokens = 0;   // stop ids are masked before
    std::vector<TokenId>
        stop_ids;             // EOS ids and the request's own, at most 1024; ids outside the vocabulary are ignored
    bool ignore_eos = false;  // stop_ids are not looked at
};

struct Request {
    std::string id;
    std::vector<TokenId> prompt;  // not empty
    SamplingParams sampling;
    int priority = 0;  // lower runs first
};

enum class FinishReason : uint8_t {
    none,    // not finished
    stop,    // a stop id (it is the event's token, and not to be shown)
    length,  // max_tokens or the context
    cancelled,
    numerical_error,  // a logit that is not a number
    shutdown,
    shed,  // waiting when the host ran short of memory: never started
};

struct TokenLogprob {
    TokenId token = 0;
    float logprob = 0;
    int rank = 0;  // 1: the likeliest
};

struct TokenEvent {
    TokenId token = -1;  // -1: no token (the request ended without one)
    FinishReason finish = FinishReason::none;
    std::optional<TokenLogprob> logprob;  // of the token, before penalties and temperature
    std::vector<TokenLogprob> top;        // the likeliest, best first
    // With the first event of a request that asked for prompt_logprobs: one entry a prompt token. Nothing precedes the
    // first: its rank is 0, it has no top and its logprob says nothing.
    struct PromptLogprob {
        TokenLogprob chosen;
        std::vector<TokenLogprob> top;
    };
    std::vector<PromptLogprob> prompt_logprobs;
    int prompt_tokens = 0, cached_tokens = 0;  // in every event
};

}  // namespace nibble::engine
