// ServedModel: all that the routes know of the model behind them. Made by whoever loaded it; constant while served.
#pragma once

#include "engine/engine.h"
#include "text/chat_template.h"
#include "text/output_parser.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace nibble::server {

// What a request that does not say gets: generation_config.json, then the flags.
struct GenerationDefaults {
    float temperature = 1.0f;
    float top_p = 1.0f;
    int top_k = 0;  // 0: all
    float min_p = 0.0f;
    float repetition_penalty = 1.0f;
    float presence_penalty = 0.0f;
    float frequency_penalty = 0.0f;
    std::optional<int64_t> max_tokens;   // of a chat answer; nothing: to the end of the context
    std::vector<text::TokenId> eos_ids;  // any of them ends an answer
};

// Limits of a request's fields (docs/serving.md).
struct RequestLimits {
    int64_t n = 8;
    int64_t prompts = 1024;  // of one completions request
    int64_t stop = 16;
    int64_t stop_bytes = 256;
    int64_t stop_ids = 256;
    int64_t top_logprobs = 20;
    int64_t logit_bias = 1024;
    int64_t messages = 4096;
    int64_t tools = 128;
    int64_t prompt_bytes = 4 << 20;  // of text, before it is tokenized
};

struct ServedModel {
    std::vector<std::string> names;  // that requests may call it by; answers carry the one they used, or the first
    std::shared_ptr<const text::Tokenizer> tokenizer;
    std::shared_ptr<const text::ChatTemplate> chat_template;  // null: no chat
    text::OutputFormat output_format;
    GenerationDefaults defaults;
    RequestLimits limits;
    int64_t max_context = 0;           // tokens, prompt and answer
    int64_t vocab_size = 0;            // ids below it are the model's
    int64_t page_size = 0;             // tokens a page of the key-value cache holds; 0: none
    int64_t created = 0;               // seconds since 1970, for /v1/models
    engine::Engine* engine = nullptr;  // outlives the server
};

}  // namespace nibble::server
