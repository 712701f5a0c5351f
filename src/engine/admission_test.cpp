#include "engine/admission.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

namespace nibble::engine {
namespace {

constexpr AdmissionLimits kLimits{.vocab_size = 100, .max_context = 64, .pages = 10, .page_size = 4};

Request request(int prompt, int max_tokens) {
    Request r;
    r.prompt.assign(static_cast<size_t>(prompt), 7);
    r.sampling.max_tokens = max_tokens;
    return r;
}

Error refused(Request r, const AdmissionLimits& limits = kLimits) {
    auto result = admit(r, limits);
    EXPECT_FALSE(result.has_value());
    return result ? Error{} : std::move(result).error();
}

TEST(Admission, ClipsMaxTokensToWhatTheContextLeaves) {
    Request r = request(20, 1000);
    const AdmissionLimits limits{.vocab_size = 100, .max_context = 64, .pages = 16, .page_size = 4};
    ASSERT_TRUE(admit(r, limits));
    EXPECT_EQ(r.sampling.max_tokens, 44);
}

TEST(Admission, PromptBeyondTheContextIsRefusedWithBothNumbers) {
    const Error e = refused(request(64, 1));
    EXPECT_EQ(e.code, ErrorCode::invalid_request);
    EXPECT_EQ(e.param, "prompt");
    EXPECT_NE(e.message.find("64 tokens; the context of 64 tokens"), std::string::npos) << e.message;
    Request whole = request(40, 0);
    EXPECT_TRUE(admit(whole, kLimits));
}

TEST(Admission, RequestThatThePagesCannotHoldAloneIsRefusedWithBothNumbers) {
    Request fits = request(20, 21);  // 40 tokens are kept: the last is only given out
    EXPECT_TRUE(admit(fits, kLimits));
    const Error e = refused(request(20, 22));
    EXPECT_EQ(e.code, ErrorCode::does_not_fit);
    EXPECT_EQ(e.param, "max_tokens");
    EXPECT_NE(e.message.find("41 tokens of cache; the cache holds 40"), std::string::npos) << e.message;
    Request without_pages = request(20, 44);
    EXPECT_TRUE(admit(without_pages, {.vocab_size = 100, .max_context = 64}));
}

TEST(Admission, EveryFieldOutsideItsRangeIsNamed) {
    const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
    struct Case {
        const char* param;
        std::function<void(Request&)> spoil;
    };
    const std::vector<Case> cases{
        {"prompt", [](Request& r) { r.prompt.clear(); }},
        {"prompt", [](Request& r) { r.prompt[2] = 100; }},
        {"prompt", [](Request& r) { r.prompt[2] = -1; }},
        {"temperature", [](Request& r) { r.sampling.temperature = -0.1f; }},
        {"temperature", [&](Request& r) { r.sampling.temperature = nan; }},
        {"temperature", [&](Request& r) { r.sampling.temperature = infinity; }},
        {"top_p", [](Request& r) { r.sampling.top_p = 0; }},
        {"top_p", [](Request& r) { r.sampling.top_p = 1.01f; }},
        {"top_p", [&](Request& r) { r.sampling.top_p = nan; }},
        {"top_k", [](Request& r) { r.sampling.top_k = -1; }},
        {"min_p", [](Request& r) { r.sampling.min_p = 1.5f; }},
        {"min_p", [&](Request& r) { r.sampling.min_p = nan; }},
        {"repetition_penalty", [](Request& r) { r.sampling.repetition_penalty = 0; }},
        {"repetition_penalty", [&](Request& r) { r.sampling.repetition_penalty = infinity; }},
        {"presence_penalty", [](Request& r) { r.sampling.presence_penalty = 2.5f; }},
        {"frequency_penalty", [](Request& r) { r.sampling.frequency_penalty = -2.5f; }},
        {"logprobs", [](Request& r) { r.sampling.logprobs = 21; }},
        {"logprobs", [](Request& r) { r.sampling.logprobs = -2; }},
        {"prompt_logprobs", [](Request& r) { r.sampling.prompt_logprobs = 21; }},
        {"max_tokens", [](Request& r) { r.sampling.max_tokens = -1; }},
        {"min_tokens", [](Request& r) { r.sampling.min_tokens = 6; }},
        {"min_tokens", [](Request& r) { r.sampling.min_tokens = -1; }},
        {"logit_bias",
         [](Request& r) {
             r.sampling.logit_bias = {{100, 1.0f}};
         }},
        {"logit_bias",
         [](Request& r) {
             r.sampling.logit_bias = {{1, 101.0f}};
         }},
        {"logit_bias",
         [&](Request& r) {
             r.sampling.logit_bias = {{1, nan}};
         }},
        {"logit_bias",
         [](Request& r) {
             r.sampling.logit_bias.assign(1025, {1, 1.0f});
         }},
    };
    for (const Case& c : cases) {
        Request r = request(5, 5);
        c.spoil(r);
        const Error e = refused(r);
        EXPECT_EQ(e.code, ErrorCode::invalid_request) << c.param;
        EXPECT_EQ(e.param, c.param) << e.message;
        EXPECT_NE(e.message.find(c.param), std::string::npos) << e.message;
    }
}

TEST(Admission, BiasesAndStopIdsAreMadeDistinct) {
    Request r = request(5, 5);
    r.sampling.logit_bias = {{9, 1.0f}, {3, 2.0f}, {9, 5.0f}};
    r.sampling.stop_ids = {50, 2, 50, 100, -4};
    ASSERT_TRUE(admit(r, kLimits));
    EXPECT_EQ(r.sampling.logit_bias, (std::vector<std::pair<TokenId, float>>{{3, 2.0f}, {9, 5.0f}}));
    EXPECT_EQ(r.sampling.stop_ids, (std::vector<TokenId>{2, 50}));
}

}  // namespace
}  // namespace nibble::engine
