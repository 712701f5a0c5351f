// admit(): what a request must satisfy before the engine takes it. After it a request can finish alone, whatever else
// runs, and every value in it is within the range that executor and sampling rely on. Pure; any thread.
#pragma once

#include "base/result.h"
#include "engine/request.h"

#include <cstdint>

namespace nibble::engine {

// Tokens of a sequence whose keys, values and state are ever kept: all but the last, which is given out and never read.
constexpr int64_t most_cached_tokens(int64_t prompt_tokens, int64_t max_tokens) {
    return max_tokens > 0 ? prompt_tokens + max_tokens - 1 : prompt_tokens;
}

struct AdmissionLimits {
    int64_t vocab_size = 0;
    int64_t max_context = 0;           // tokens of one sequence, prompt and output
    int64_t pages = 0, page_size = 0;  // pages 0: no cache to fit in
};

// Clips max_tokens to the context, drops repeated biases and stop ids, and stop ids outside the vocabulary.
// Errors: invalid_request, param naming the field; does_not_fit when prompt and max_tokens are within the context but
// not within the pages.
Result<void> admit(Request& request, const AdmissionLimits& limits);

}  // namespace nibble::engine
