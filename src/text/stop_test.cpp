#include "text/stop.h"

#include <gtest/gtest.h>

#include <ctime>
#include <random>

namespace nibble::text {
namespace {

struct Expected {
    std::string text;
    int stop = -1;
};

// The stop string that is complete first; of those the longest; of those the first in the list.
Expected by_definition(const std::string& text, const std::vector<std::string>& stops, bool include) {
    for (size_t end = 1; end <= text.size(); end++) {
        int best = -1;
        for (size_t i = 0; i < stops.size(); i++) {
            const std::string& stop = stops[i];
            if (stop.empty() || stop.size() > end || text.compare(end - stop.size(), stop.size(), stop) != 0) continue;
            if (best < 0 || stop.size() > stops[best].size()) best = static_cast<int>(i);
        }
        if (best >= 0) return {text.substr(0, include ? end : end - stops[best].size()), best};
    }
    return {text};
}

TEST(StopMatcher, AgreesWithTheDefinitionHoweverTheTextIsCut) {
    std::mt19937 random(1);
    for (int round = 0; round < 4000; round++) {
        std::vector<std::string> stops(random() % 4);
        const auto word = [&](size_t most) {
            std::string text;
            for (size_t n = random() % (most + 1); n > 0; n--) text += "ab"[random() % 2];
            return text;
        };
        for (auto& stop : stops) stop = word(5);
        const std::string text = word(20);
        const bool include = random() % 2 == 0;
        StopMatcher matcher(stops, include);
        std::string shown;
        int stopped = -1;
        for (size_t at = 0; at < text.size();) {
            const size_t n = 1 + random() % 4;
            const auto piece = matcher.push(std::string_view(text).substr(at, n));
            at += n;
            shown += piece.text;
            if (piece.stopped) {
                stopped = piece.stop_index;
                EXPECT_EQ(matcher.push("more").text, "");
                EXPECT_TRUE(matcher.push("").stopped);
                break;
            }
            // What is shown is never taken back: it begins the answer whatever follows.
            for (const char* rest : {"a", "b", "ab", "ba", "aab", "bbb"}) {
                const std::string whole = text.substr(0, std::min(at, text.size())) + rest;
                EXPECT_TRUE(by_definition(whole, stops, include).text.starts_with(shown)) << whole;
            }
        }
        if (stopped < 0) shown += matcher.flush();
        const Expected expected = by_definition(text, stops, include);
        EXPECT_EQ(shown, expected.text) << text;
        EXPECT_EQ(stopped, expected.stop) << text;
    }
}

TEST(StopMatcher, HoldsBackOnlyWhatCouldStillStop) {
    StopMatcher matcher({"\n\nUser:", "END"});
    EXPECT_EQ(matcher.push("Hello\n").text, "Hello");
    EXPECT_EQ(matcher.push("world").text, "\nworld");
    EXPECT_EQ(matcher.push(" EN").text, " ");
    EXPECT_EQ(matcher.push("E").text, "EN");
    const auto piece = matcher.push("ND of it");
    EXPECT_EQ(piece.text, "");
    EXPECT_TRUE(piece.stopped);
    EXPECT_EQ(piece.stop_index, 1);
}

TEST(StopMatcher, WithoutStopStringsPassesEverything) {
    StopMatcher matcher({""});
    EXPECT_FALSE(matcher.active());
    EXPECT_EQ(matcher.push("text").text, "text");
    EXPECT_EQ(matcher.flush(), "");
    EXPECT_TRUE(StopMatcher({"x"}).active());
}

TEST(StopMatcher, FlushMakesItAsNew) {
    StopMatcher matcher({"ab"});
    EXPECT_EQ(matcher.push("xa").text, "x");
    EXPECT_EQ(matcher.flush(), "a");
    EXPECT_EQ(matcher.push("b").text, "b");
    EXPECT_TRUE(matcher.push("ab").stopped);
    EXPECT_EQ(matcher.flush(), "");
    EXPECT_EQ(matcher.push("c").text, "c");
}

TEST(StopMatcher, NeverCutsACharacter) {
    StopMatcher matcher({"é€"});
    EXPECT_EQ(matcher.push("aé").text, "a");
    EXPECT_EQ(matcher.push("è").text, "éè");
}

// A long stop string that nearly matches everywhere: quadratic for a matcher that starts over.
TEST(StopMatcher, TimeGrowsInStepWithTheText) {
    const std::vector<std::string> stops = {std::string(255, 'a') + "b", std::string(200, 'a') + "c"};
    const auto seconds = [&](size_t size) {
        timespec begin{}, end{};
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
        StopMatcher matcher(stops);
        for (size_t i = 0; i < size; i += 64) matcher.push(std::string(64, 'a'));
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
        return static_cast<double>(end.tv_sec - begin.tv_sec) + static_cast<double>(end.tv_nsec - begin.tv_nsec) * 1e-9;
    };
    seconds(1 << 16);
    const double once = std::min(seconds(1 << 18), seconds(1 << 18));
    EXPECT_LT(std::min(seconds(1 << 20), seconds(1 << 20)), 4 * 2.5 * once + 2e-3);
}

}  // namespace
}  // namespace nibble::text
