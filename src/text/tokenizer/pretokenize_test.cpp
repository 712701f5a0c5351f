#include "text/tokenizer/pretokenize.h"

#include "text/tokenizer/sample_tokenizers.h"

#include <gmock/gmock.h>

namespace nibble::text {
namespace {

using testing::ElementsAre;
using Kind = PreTokenizerStep::Kind;

std::vector<std::string> words(std::vector<PreTokenizerStep> steps, std::string_view text, bool at_start = true) {
    std::vector<std::string> out;
    PreTokenizer(std::move(steps)).run(text, at_start, [&](std::string_view word) { out.emplace_back(word); });
    return out;
}

std::vector<PreTokenizerStep> split(SplitBehavior behavior, bool invert = false) {
    std::vector<PreTokenizerStep> steps;
    steps.push_back({.kind = Kind::split, .pattern = *Pattern::literal("-"), .behavior = behavior, .invert = invert});
    return steps;
}

TEST(PreTokenizer, DoesWithDelimitersWhatTheBehaviorSays) {
    const char* text = "the-final--countdown";
    EXPECT_THAT(words(split(SplitBehavior::removed), text), ElementsAre("the", "final", "countdown"));
    EXPECT_THAT(words(split(SplitBehavior::isolated), text), ElementsAre("the", "-", "final", "-", "-", "countdown"));
    EXPECT_THAT(words(split(SplitBehavior::merged_with_previous), text),
                ElementsAre("the-", "final-", "-", "countdown"));
    EXPECT_THAT(words(split(SplitBehavior::merged_with_next), text), ElementsAre("the", "-final", "-", "-countdown"));
    EXPECT_THAT(words(split(SplitBehavior::contiguous), text), ElementsAre("the", "-", "final", "--", "countdown"));
    EXPECT_THAT(words(split(SplitBehavior::removed, true), text), ElementsAre("-", "-", "-"));
    EXPECT_THAT(words(split(SplitBehavior::removed), "--"), ElementsAre());
    EXPECT_THAT(words(split(SplitBehavior::merged_with_next), "a-"), ElementsAre("a", "-"));
    EXPECT_THAT(words(split(SplitBehavior::merged_with_previous), "-a"), ElementsAre("-", "a"));
}

TEST(PreTokenizer, MetaspacePutsItsMarkInFront) {
    std::vector<PreTokenizerStep> steps;
    const auto metaspace = [&](PreTokenizerStep::Prepend prepend) {
        std::vector<PreTokenizerStep> chain;
        chain.push_back({.kind = Kind::metaspace, .text = "▁", .prepend = prepend});
        return chain;
    };
    EXPECT_THAT(words(metaspace(PreTokenizerStep::Prepend::always), "a b", false), ElementsAre("▁a▁b"));
    EXPECT_THAT(words(metaspace(PreTokenizerStep::Prepend::first), "a b", false), ElementsAre("a▁b"));
    EXPECT_THAT(words(metaspace(PreTokenizerStep::Prepend::first), "a b"), ElementsAre("▁a▁b"));
    EXPECT_THAT(words(metaspace(PreTokenizerStep::Prepend::always), " a"), ElementsAre("▁a"));
    EXPECT_THAT(words(metaspace(PreTokenizerStep::Prepend::never), "a "), ElementsAre("a▁"));
}

TEST(PreTokenizer, LeavesBytesAsTheyAreWhenTheAlphabetComesLast) {
    std::vector<PreTokenizerStep> last = split(SplitBehavior::isolated);
    last.push_back({.kind = Kind::bytes});
    const PreTokenizer raw(std::move(last));
    EXPECT_TRUE(raw.words_are_bytes());
    std::vector<PreTokenizerStep> first;
    first.push_back({.kind = Kind::bytes});
    first.push_back({.kind = Kind::fixed_length, .length = 2});
    EXPECT_THAT(words(std::move(first), " é"), ElementsAre("ĠÃ", "©"));
}

TEST(PreTokenizer, PiecesOfAPlainSplitAddUpToTheText) {
    std::mt19937 random(5);
    for (int i = 0; i < 300; i++) {
        const std::string text = sample::random_text(random, random() % 40);
        std::vector<PreTokenizerStep> steps;
        steps.push_back({.kind = Kind::split, .pattern = Pattern::scanner(SplitScanner::gpt2())});
        std::string all;
        for (const std::string& word : words(std::move(steps), text)) {
            EXPECT_FALSE(word.empty());
            all += word;
        }
        EXPECT_EQ(all, text);
    }
}

}  // namespace
}  // namespace nibble::text
