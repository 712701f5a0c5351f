#include "server/logprobs.h"

#include "server/tiny_tokenizer.h"

#include <gtest/gtest.h>

#include <cmath>

namespace nibble::server {
namespace {

TEST(Logprobs, DifferentTokensHaveDifferentNames) {
    const auto tokenizer = tiny_tokenizer();
    EXPECT_EQ(token_name(*tokenizer, 'a', false, ""), "a");
    EXPECT_EQ(token_name(*tokenizer, 0xe4, false, ""), "\\xe4");
    EXPECT_EQ(token_name(*tokenizer, 0xe4, false, "bytes:"), "bytes:\\xe4");
    EXPECT_EQ(token_name(*tokenizer, kTinyEnd, false, ""), "<|im_end|>");
    EXPECT_EQ(token_name(*tokenizer, 'a', true, ""), "token_id:97");
    EXPECT_EQ(token_name(*tokenizer, kTinyVocabulary - 1, false, ""), "token_id:319");
}

TEST(Logprobs, ChatNamesTokenBytesAndAlternatives) {
    std::string out;
    append_chat_logprob(out, *tiny_tokenizer(), {.token = 'a', .logprob = -0.5f},
                        {{.token = 0xe4, .logprob = -0.25f}, {.token = 'a', .logprob = -0.5f}}, false);
    EXPECT_EQ(out, R"({"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[)"
                   R"({"token":"\\xe4","logprob":-0.25,"bytes":[228]},{"token":"a","logprob":-0.5,"bytes":[97]}]})");
}

TEST(Logprobs, CompletionsListsGoOnWhereTheyWereTaken) {
    const auto tokenizer = tiny_tokenizer();
    CompletionLogprobs logprobs(*tokenizer, false);
    EXPECT_TRUE(logprobs.empty());
    logprobs.add_unknown(0xc3);
    logprobs.add({.token = 0xa9, .logprob = -1.5f}, {{.token = 'b', .logprob = -0.5f}}, 1);
    EXPECT_EQ(logprobs.take(),
              R"({"text_offset":[0,1],"token_logprobs":[null,-1.5],"tokens":["bytes:\\xc3","bytes:\\xa9"],)"
              R"("top_logprobs":[null,{"b":-0.5,"bytes:\\xa9":-1.5}]})");
    EXPECT_TRUE(logprobs.empty());
    // Two bytes made one character; k = 0 leaves the chosen one alone.
    logprobs.add({.token = 'x', .logprob = -INFINITY}, {{.token = 'b', .logprob = -0.5f}}, 0);
    EXPECT_EQ(logprobs.take(), R"({"text_offset":[1],"token_logprobs":[-9999.0],"tokens":["x"],)"
                               R"("top_logprobs":[{"x":-9999.0}]})");
}

TEST(Logprobs, ThePromptsFirstTokenHasNone) {
    EXPECT_EQ(
        prompt_logprobs_json(*tiny_tokenizer(), {{.chosen = {.token = 'a'}},
                                                 {.chosen = {.token = 'b', .logprob = -2, .rank = 3},
                                                  .top = {{.token = 'c', .logprob = -1, .rank = 1}}}}),
        R"([null,{"99":{"logprob":-1,"rank":1,"decoded_token":"c"},"98":{"logprob":-2,"rank":3,"decoded_token":"b"}}])");
}

}  // namespace
}  // namespace nibble::server
