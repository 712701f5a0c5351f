#include "server/generation_fields.h"

#include "server/tiny_tokenizer.h"

#include <gtest/gtest.h>

namespace nibble::server {
namespace {

ServedModel model() {
    ServedModel model{.names = {"m", "alias"}, .tokenizer = tiny_tokenizer()};
    model.vocab_size = kTinyVocabulary;
    model.max_context = 100;
    model.defaults.eos_ids = {300, 302};
    model.defaults.temperature = 0.6f;
    model.defaults.top_k = 20;
    return model;
}

GenerationParams read(std::string_view body, bool chat = true, const ServedModel& served = model()) {
    const auto value = text::parse_json(body);
    EXPECT_TRUE(value);
    Fields fields(value->as_object());
    GenerationParams params = read_generation_fields(fields, served, {.chat = chat}, 77);
    EXPECT_TRUE(fields.ok()) << fields.error()->message;
    return params;
}

TEST(GenerationFields, DefaultsAreTheModels) {
    const GenerationParams params = read("{}");
    EXPECT_EQ(params.sampling.temperature, 0.6f);
    EXPECT_EQ(params.sampling.top_k, 20);
    EXPECT_EQ(params.sampling.seed, 77u);
    EXPECT_EQ(params.sampling.stop_ids, (std::vector<engine::TokenId>{300, 302}));
    EXPECT_FALSE(params.max_tokens);
    EXPECT_EQ(read("{}", false).max_tokens, 16);
    EXPECT_EQ(read(R"({"temperature": 0, "top_k": -1})").sampling.top_k, 0);
}

TEST(GenerationFields, IgnoringTheEndLeavesTheRequestsOwnStops) {
    const GenerationParams params = read(R"({"ignore_eos": true, "stop_token_ids": [5]})");
    EXPECT_EQ(params.sampling.stop_ids, (std::vector<engine::TokenId>{5}));
    EXPECT_FALSE(params.sampling.ignore_eos);
    EXPECT_TRUE(read(R"({"ignore_eos": true})").sampling.ignore_eos);
    EXPECT_EQ(read(R"({"stop_token_ids": [5]})").sampling.stop_ids, (std::vector<engine::TokenId>{5, 300, 302}));
}

TEST(GenerationFields, TheSeedIsTheRequestsUnlessItSaysAny) {
    EXPECT_EQ(read(R"({"seed": 5})").sampling.seed, 5u);
    EXPECT_EQ(read(R"({"seed": -1})").sampling.seed, 77u);
    EXPECT_EQ(read(R"({"seed": -2})").sampling.seed, static_cast<uint64_t>(-2));
    EXPECT_EQ(choice_seed(5, 0), 5u);
    EXPECT_NE(choice_seed(5, 1), choice_seed(6, 0));
    EXPECT_NE(choice_seed(5, 1), choice_seed(5, 2));
}

TEST(GenerationFields, ATokenBiasedTwiceTakesTheLast) {
    const auto bias = read(R"({"logit_bias": {"7": 1, "5": 2, "007": 3}})").sampling.logit_bias;
    EXPECT_EQ(bias, (std::vector<std::pair<engine::TokenId, float>>{{5, 2.0f}, {7, 3.0f}}));
}

TEST(GenerationFields, ANewerNameGoesBeforeTheOlder) {
    EXPECT_EQ(read(R"({"max_tokens": 5, "max_completion_tokens": 7})").max_tokens, 7);
}

TEST(GenerationFields, PromptAndAnswerShareTheContext) {
    const ServedModel served = model();
    const auto fit = [&](std::string_view body, size_t prompt, bool chat = true) {
        GenerationParams params = read(body, chat, served);
        const auto result = fit_to_context(params, served, prompt, "prompt");
        return result ? params.sampling.max_tokens : -1;
    };
    EXPECT_EQ(fit("{}", 40), 60);
    EXPECT_EQ(fit(R"({"max_tokens": 500})", 40), 60);
    EXPECT_EQ(fit(R"({"max_tokens": 5})", 40), 5);
    EXPECT_EQ(fit("{}", 99), 1);
    EXPECT_EQ(fit("{}", 100), -1);
    EXPECT_EQ(fit("{}", 500), -1);
    EXPECT_EQ(fit(R"({"max_tokens": 0})", 100, false), 0);
    EXPECT_EQ(fit(R"({"max_tokens": 0})", 101, false), -1);
    ServedModel limited = model();
    limited.defaults.max_tokens = 10;
    GenerationParams params = read("{}", true, limited);
    ASSERT_TRUE(fit_to_context(params, limited, 40, "prompt"));
    EXPECT_EQ(params.sampling.max_tokens, 10);
}

TEST(GenerationFields, TheModelsNameIsOneOfThoseServed) {
    const ServedModel served = model();
    const auto name = [&](std::string_view body) {
        const auto value = text::parse_json(body);
        Fields fields(value->as_object());
        const auto result = read_model_name(fields, served);
        return result ? *result : result.error().message;
    };
    EXPECT_EQ(name("{}"), "m");
    EXPECT_EQ(name(R"({"model": ""})"), "m");
    EXPECT_EQ(name(R"({"model": "alias"})"), "alias");
    EXPECT_EQ(name(R"({"model": "other"})"), "model: 'other' is not served here; 'm' is");
    EXPECT_EQ(name(R"({"model": 5})"), "model: expected a string, found 5");
}

}  // namespace
}  // namespace nibble::server
