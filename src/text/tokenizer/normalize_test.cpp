#include "text/tokenizer/normalize.h"

#include "text/tokenizer/sample_tokenizers.h"

#include <gtest/gtest.h>

#include <ctime>

namespace nibble::text {
namespace {

std::string in_form(NormalForm form, std::string_view text) {
    std::string out;
    return normalize(form, text, out) ? out : std::string(text);
}

TEST(Normalize, FormsAreWhatUnicodeSays) {
    EXPECT_EQ(in_form(NormalForm::nfc, "e\u0301"), "é");
    EXPECT_EQ(in_form(NormalForm::nfd, "é"), "e\u0301");
    EXPECT_EQ(in_form(NormalForm::nfc, "\u212B"), "\u00C5");        // a singleton
    EXPECT_EQ(in_form(NormalForm::nfc, "\u0958"), "\u0915\u093C");  // excluded from composition
    EXPECT_EQ(in_form(NormalForm::nfc, "q\u0307\u0323"), "q\u0323\u0307");
    EXPECT_EQ(in_form(NormalForm::nfkc, "ﬁ①"), "fi1");
    EXPECT_EQ(in_form(NormalForm::nfkd, "\u1E9B\u0323"), "s\u0323\u0307");
    EXPECT_EQ(in_form(NormalForm::nfc, "\u1112\u1161\u11AB"), "한");
    EXPECT_EQ(in_form(NormalForm::nfd, "한"), "\u1112\u1161\u11AB");
    EXPECT_EQ(in_form(NormalForm::nfc, "\u0301a"), "\u0301a");
    EXPECT_EQ(in_form(NormalForm::nfkc, "\u32FF"), "\u32FF");  // newer than the package's data
}

TEST(Normalize, WhatIsInAFormStays) {
    std::mt19937 random(4);
    for (const NormalForm form : {NormalForm::nfc, NormalForm::nfd, NormalForm::nfkc, NormalForm::nfkd}) {
        for (int i = 0; i < 2000; i++) {
            const std::string once = in_form(form, sample::random_text(random, random() % 20));
            EXPECT_EQ(in_form(form, once), once);
            EXPECT_TRUE(utf8::is_valid(once));
        }
    }
    std::string untouched = "as it was";
    EXPECT_FALSE(normalize(NormalForm::nfkc, "plain text", untouched));
    EXPECT_EQ(untouched, "as it was");
}

// Putting marks in order by exchanging neighbours is quadratic in a run of them.
TEST(Normalize, LongRunsOfMarksTakeTimeInStep) {
    const auto seconds = [](const std::string& text) {
        timespec begin{}, end{};
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
        in_form(NormalForm::nfc, text);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
        return static_cast<double>(end.tv_sec - begin.tv_sec) + static_cast<double>(end.tv_nsec - begin.tv_nsec) * 1e-9;
    };
    std::string text = "a";
    while (text.size() < (1 << 17)) text += "\u0301\u0316";
    const std::string four = text + text.substr(1) + text.substr(1) + text.substr(1);
    const double once = std::min(seconds(text), seconds(text));
    EXPECT_LT(std::min(seconds(four), seconds(four)), 4 * 2.5 * once + 2e-3);
}

TEST(Normalizer, StepsFollowOneAnother) {
    std::vector<NormalizerStep> steps;
    steps.push_back({.kind = NormalizerStep::Kind::strip, .left = true, .right = true});
    steps.push_back({.kind = NormalizerStep::Kind::nfd});
    steps.push_back({.kind = NormalizerStep::Kind::strip_accents});
    steps.push_back({.kind = NormalizerStep::Kind::lowercase});
    steps.push_back({.kind = NormalizerStep::Kind::replace, .pattern = *Pattern::literal(" "), .text = "▁"});
    steps.push_back({.kind = NormalizerStep::Kind::prepend, .text = "▁"});
    const Normalizer normalizer(std::move(steps));
    std::string buffer;
    bool at_start = true;
    EXPECT_EQ(normalizer.apply("\u3000 Ça VA \n", buffer, at_start), "▁ca▁va");
    EXPECT_FALSE(at_start);
    at_start = true;
    EXPECT_EQ(normalizer.apply("İx", buffer, at_start), "▁ix");
    EXPECT_TRUE(at_start);
    EXPECT_EQ(normalizer.apply("  ", buffer, at_start), "");
    EXPECT_EQ(normalizer.apply("", buffer, at_start), "");
}

}  // namespace
}  // namespace nibble::text
