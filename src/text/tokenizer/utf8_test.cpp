#include "text/tokenizer/utf8.h"

#include <gtest/gtest.h>

#include <random>

namespace nibble::text::utf8 {
namespace {

TEST(Utf8, EveryMaximalPartOfABrokenSequenceIsReplacedOnce) {
    EXPECT_EQ(lossy("a\xF1\x80\x80\xE1\x80\xC2"
                    "b\x80"
                    "c\x80\xBF"
                    "d"),
              "a\uFFFD\uFFFD\uFFFDb\uFFFDc\uFFFD\uFFFDd");   // the example of the Unicode Standard, 3.9
    EXPECT_EQ(lossy("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");  // a surrogate
    EXPECT_EQ(lossy("\xC0\xAF"), "\uFFFD\uFFFD");            // overlong
    EXPECT_EQ(lossy("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");
    EXPECT_EQ(lossy("\xF0\x9F\x98"), "\uFFFD");
}

TEST(Utf8, BytesMayComeInAnyPieces) {
    std::mt19937 random(6);
    for (int round = 0; round < 5000; round++) {
        std::string bytes;
        for (size_t n = random() % 12; n > 0; n--) {
            bytes +=
                static_cast<char>("\x41\x80\xBF\xC3\xE2\x82\xAC\xF0\x9F\x98\xED\xA0\xF4\x90\xFF\xE0"[random() % 16]);
        }
        const std::string whole = lossy(bytes);
        EXPECT_TRUE(is_valid(whole));
        if (is_valid(bytes)) {
            EXPECT_EQ(whole, bytes);
        }
        LossyDecoder decoder;
        std::string streamed;
        for (size_t at = 0; at < bytes.size();) {
            const size_t n = random() % 4;
            std::string piece;
            decoder.push(std::string_view(bytes).substr(at, n), piece);
            EXPECT_TRUE(is_valid(piece));
            streamed += piece;
            at += n;
        }
        decoder.flush(streamed);
        EXPECT_EQ(streamed, whole);
    }
}

TEST(Utf8, CodePointsAreReadAsTheyWereWritten) {
    for (char32_t c = 0; c < 0x110000; c += c < 0x900 ? 1 : 61) {
        if (c >= 0xD800 && c < 0xE000) continue;
        const std::string bytes = encode(c);
        EXPECT_TRUE(is_valid(bytes));
        EXPECT_EQ(length(bytes[0]), bytes.size());
        const char* p = bytes.data();
        EXPECT_EQ(next(p), c);
        EXPECT_EQ(p, bytes.data() + bytes.size());
        EXPECT_EQ(previous(p), c);
        EXPECT_EQ(p, bytes.data());
    }
}

}  // namespace
}  // namespace nibble::text::utf8
