#include "server/choice_text.h"

#include "server/tiny_tokenizer.h"

#include <gtest/gtest.h>

namespace nibble::server {
namespace {

// Feeds the tokens of `text` one by one; what was shown, and the stop string met.
std::pair<std::string, int> show(const std::string& text, GenerationParams params,
                                 std::vector<std::string>* pieces = {}) {
    const auto tokenizer = tiny_tokenizer();
    ChoiceText choice(tokenizer, params, std::nullopt);
    std::string shown;
    for (const text::TokenId token : tokenizer->encode(text)) {
        ChoiceText::Piece piece;
        choice.push(token, true, piece);
        shown += piece.text;
        if (pieces) pieces->push_back(piece.text);
        if (piece.stop_string >= 0) return {shown, piece.stop_string};
    }
    ChoiceText::Piece last;
    choice.finish(last);
    return {shown + last.text, last.stop_string};
}

TEST(ChoiceText, CharactersComeWhole) {
    std::vector<std::string> pieces;
    EXPECT_EQ(show("a\u4e2db\U0001F600", {}, &pieces).first, "a\u4e2db\U0001F600");
    EXPECT_EQ(pieces, (std::vector<std::string>{"a", "", "", "\u4e2d", "b", "", "", "", "\U0001F600"}));
}

TEST(ChoiceText, AStopStringEndsTheTextWhereverTokensAreCut) {
    EXPECT_EQ(show("one two three", {.stop = {"o th"}}), (std::pair<std::string, int>("one tw", 0)));
    EXPECT_EQ(show("one two three", {.stop = {"x", "three"}}), (std::pair<std::string, int>("one two ", 1)));
    EXPECT_EQ(show("one two three", {.stop = {"three"}, .include_stop = true}),
              (std::pair<std::string, int>("one two three", 0)));
    EXPECT_EQ(show("one two thre", {.stop = {"three"}}), (std::pair<std::string, int>("one two thre", -1)));
}

TEST(ChoiceText, AStopStringBeforeMinTokensIsText) {
    GenerationParams params{.stop = {"a"}};
    params.sampling.min_tokens = 3;
    EXPECT_EQ(show("aaaaab", params), (std::pair<std::string, int>("aaa", 0)));
}

TEST(ChoiceText, ATokenThatEndsUnseenShowsNothing) {
    ChoiceText choice(tiny_tokenizer(), {}, std::nullopt);
    ChoiceText::Piece piece;
    choice.push(kTinyEnd, false, piece);
    choice.finish(piece);
    EXPECT_EQ(piece.text, "");
}

TEST(ChoiceText, HalfACharacterAtTheEndIsReplaced) {
    ChoiceText choice(tiny_tokenizer(), {}, std::nullopt);
    ChoiceText::Piece piece;
    choice.push(0xe4, true, piece);
    EXPECT_EQ(piece.text, "");
    choice.finish(piece);
    EXPECT_EQ(piece.text, "\uFFFD");
}

}  // namespace
}  // namespace nibble::server
