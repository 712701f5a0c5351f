#include "engine/admission.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_set>

namespace nibble::engine {
namespace {

constexpr size_t kMaxListed = 1024;  // biases, and stop ids
constexpr int kMaxLogprobs = 20;
constexpr float kMaxBias = 100.0f;

template <class... Args>
Error invalid(std::string_view param, fmt::format_string<Args...> format, Args&&... args) {
    Error failure = error(ErrorCode::invalid_request, format, std::forward<Args>(args)...);
    failure.param = param;
    return failure;
}

// A NaN is in no range.
template <class T>
Result<void> in_range(std::string_view param, T value, T least, T most) {
    if (value >= least && value <= most) return {};
    return invalid(param, "{} must be between {} and {}, not {}", param, least, most, value);
}

Result<void> check_sampling(SamplingParams& sampling, int64_t vocab_size) {
    constexpr float kLargest = std::numeric_limits<float>::max();
    TRY_VOID(in_range("temperature", sampling.temperature, 0.0f, kLargest));
    if (!(sampling.top_p > 0.0f && sampling.top_p <= 1.0f))
        return invalid("top_p", "top_p must be above 0 and at most 1, not {}", sampling.top_p);
    if (sampling.top_k < 0) return invalid("top_k", "top_k must be 0 (all) or more, not {}", sampling.top_k);
    TRY_VOID(in_range("min_p", sampling.min_p, 0.0f, 1.0f));
    if (!(sampling.repetition_penalty > 0.0f && sampling.repetition_penalty <= kLargest))
        return invalid("repetition_penalty", "repetition_penalty must be above 0, not {}", sampling.repetition_penalty);
    TRY_VOID(in_range("presence_penalty", sampling.presence_penalty, -2.0f, 2.0f));
    TRY_VOID(in_range("frequency_penalty", sampling.frequency_penalty, -2.0f, 2.0f));
    TRY_VOID(in_range("logprobs", sampling.logprobs, -1, kMaxLogprobs));
    TRY_VOID(in_range("prompt_logprobs", sampling.prompt_logprobs, -1, kMaxLogprobs));

    if (sampling.logit_bias.size() > kMaxListed)
        return invalid("logit_bias", "logit_bias has {} entries; at most {} are allowed", sampling.logit_bias.size(),
                       kMaxListed);
    for (const auto& [token, bias] : sampling.logit_bias) {
        if (token < 0 || token >= vocab_size)
            return invalid("logit_bias", "logit_bias names token {}; the vocabulary has ids 0 to {}", token,
                           vocab_size - 1);
        TRY_VOID(in_range("logit_bias", bias, -kMaxBias, kMaxBias));
    }
    std::reverse(sampling.logit_bias.begin(), sampling.logit_bias.end());  // the last of a token comes first
    const auto by_token = [](const auto& a, const auto& b) { return a.first < b.first; };
    const auto same_token = [](const auto& a, const auto& b) { return a.first == b.first; };
    std::stable_sort(sampling.logit_bias.begin(), sampling.logit_bias.end(), by_token);
    sampling.logit_bias.erase(std::unique(sampling.logit_bias.begin(), sampling.logit_bias.end(), same_token),
                              sampling.logit_bias.end());

    std::erase_if(sampling.stop_ids, [&](TokenId id) { return id < 0 || id >= vocab_size; });
    std::sort(sampling.stop_ids.begin(), sampling.stop_ids.end());
    sampling.stop_ids.erase(std::unique(sampling.stop_ids.begin(), sampling.stop_ids.end()), sampling.stop_ids.end());
    if (sampling.stop_ids.size() > kMaxListed)
        return invalid("stop_token_ids", "there are {} stop ids; at most {} are allowed", sampling.stop_ids.size(),
                       kMaxListed);
    return {};
}

}  // namespace

Result<void> admit(Request& request, const AdmissionLimits& limits) {
    SamplingParams& sampling = request.sampling;
    const int64_t prompt = static_cast<int64_t>(request.prompt.size());
    if (prompt == 0) return invalid("prompt", "the prompt has no token");
    for (TokenId token : request.prompt)
        if (token < 0 || token >= limits.vocab_size)
            return invalid("prompt", "the prompt has token {}; the vocabulary has ids 0 to {}", token,
                           limits.vocab_size - 1);
    if (sampling.max_tokens < 0)
        return invalid("max_tokens", "max_tokens must be 0 or more, not {}", sampling.max_tokens);
    if (sampling.min_tokens < 0 || sampling.min_tokens > sampling.max_tokens)
        return invalid("min_tokens", "min_tokens must be between 0 and max_tokens ({}), not {}", sampling.max_tokens,
                       sampling.min_tokens);

    const int64_t room = limits.max_context - prompt;
    if (room < (sampling.max_tokens > 0 ? 1 : 0))
        return invalid("prompt", "the prompt has {} tokens; the context of {} tokens must also hold the output", prompt,
                       limits.max_context);
    sampling.max_tokens = static_cast<int>(std::min<int64_t>(sampling.max_tokens, room));
    const int64_t cached = most_cached_tokens(prompt, sampling.max_tokens);
    if (limits.pages > 0 && cached > limits.pages * limits.page_size) {
        Error failure = error(ErrorCode::does_not_fit,
                              "the prompt's {} tokens and {} of output need {} tokens of cache; the cache holds {}",
                              prompt, sampling.max_tokens, cached, limits.pages * limits.page_size);
        failure.param = "max_tokens";
        return failure;
    }
    return check_sampling(sampling, limits.vocab_size);
}

}  // namespace nibble::engine
