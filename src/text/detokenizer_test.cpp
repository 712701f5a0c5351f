#include "text/detokenizer.h"

#include "text/tokenizer/sample_tokenizers.h"

#include <gtest/gtest.h>

namespace nibble::text {
namespace {

using sample::Sample;

void expect_streams_as_it_decodes(const Sample& sample, unsigned seed) {
    const auto tokenizer = sample.load();
    ASSERT_NE(tokenizer, nullptr);
    std::mt19937 random(seed);
    for (int round = 0; round < 400; round++) {
        std::vector<TokenId> ids(random() % 12);
        for (TokenId& id : ids) {
            id = static_cast<TokenId>(random() % static_cast<unsigned>(tokenizer->vocab_size() + 2)) - 1;
        }
        for (const bool skip : {false, true}) {
            Detokenizer detokenizer(tokenizer, skip);
            for (int again = 0; again < 2; again++) {  // flush() makes it as new
                std::string streamed;
                for (const TokenId id : ids) {
                    const std::string piece = detokenizer.push(id);
                    EXPECT_TRUE(utf8::is_valid(piece));
                    streamed += piece;
                }
                streamed += detokenizer.flush();
                EXPECT_EQ(streamed, tokenizer->decode(ids, skip));
                EXPECT_TRUE(utf8::is_valid(streamed));
            }
        }
    }
}

Sample sentencepiece(std::string decoder) {
    Sample sample;
    sample.pieces = {"a",      "▁",      "▁the",   "▁▁",     "é",      "字", "b▁", "</w>", "ab</w>", "<0x41>",
                     "<0xE2>", "<0x82>", "<0xAC>", "<0xFF>", "<0xF0>", "aa", " ",  "  b",  "<0xZZ>", "<unk>"};
    sample.added = "[" + sample::added_token(20, "<s>", "special") + "," + sample::added_token(21, "▁x ") + "]";
    sample.decoder = std::move(decoder);
    return sample;
}

TEST(Detokenizer, PiecesOfEveryDecoderAddUpToDecode) {
    Sample bytes = sample::byte_level({{"a", "b"}, {"Ã", "©"}, {"â", "Ĥ"}});
    bytes.added = "[" + sample::added_token(259, "<|é|>") + "," + sample::added_token(260, "x y", "special") + "]";
    expect_streams_as_it_decodes(bytes, 1);
    unsigned seed = 2;
    for (
        const char* decoder :
        {"null", R"({"type":"Fuse"})", R"({"type":"ByteFallback"})", R"({"type":"Metaspace","replacement":"▁"})",
         R"({"type":"Metaspace","replacement":"▁","prepend_scheme":"never"})",
         R"({"type":"BPEDecoder","suffix":"</w>"})", R"({"type":"Strip","content":"a","start":1,"stop":1})",
         R"({"type":"Replace","pattern":{"Regex":"a+|\\s"},"content":"-"})",
         R"({"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},)"
         R"({"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]})",
         R"({"type":"Sequence","decoders":[{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":"a","start":2,"stop":2}]})",
         R"({"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"Replace","pattern":{"String":"▁▁"},"content":"é"}]})",
         R"({"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"Replace","pattern":{"Regex":"▁+"},"content":" "}]})",
         R"({"type":"Sequence","decoders":[{"type":"ByteFallback"},{"type":"ByteLevel"},{"type":"Metaspace","replacement":"▁"}]})",
         R"({"type":"Sequence","decoders":[{"type":"BPEDecoder","suffix":"▁"},{"type":"BPEDecoder","suffix":"a"},{"type":"Fuse"}]})",
         R"({"type":"Sequence","decoders":[]})"}) {
        SCOPED_TRACE(decoder);
        expect_streams_as_it_decodes(sentencepiece(decoder), seed++);
    }
}

TEST(Detokenizer, HoldsBackWhatIsNotYetACharacter) {
    const auto tokenizer = sample::byte_level().load();
    Detokenizer detokenizer(tokenizer, false);
    const std::vector<TokenId> euro = tokenizer->encode("€");
    ASSERT_EQ(euro.size(), 3u);
    EXPECT_EQ(detokenizer.push(euro[0]), "");
    EXPECT_EQ(detokenizer.push(euro[1]), "");
    EXPECT_EQ(detokenizer.push(euro[2]), "€");
    EXPECT_EQ(detokenizer.push(euro[0]), "");
    EXPECT_EQ(detokenizer.push(tokenizer->encode("a")[0]), "\uFFFDa");  // shown to be invalid
    EXPECT_EQ(detokenizer.push(euro[0]), "");
    EXPECT_EQ(detokenizer.flush(), "\uFFFD");
    EXPECT_EQ(detokenizer.flush(), "");
}

TEST(Detokenizer, DropsTheSpaceThatSentencePiecePutsInFront) {
    Sample sample = sentencepiece(R"({"type":"Metaspace","replacement":"▁"})");
    const auto tokenizer = sample.load();
    Detokenizer detokenizer(tokenizer, true);
    EXPECT_EQ(detokenizer.push(20), "");  // skipped: it is not the first piece
    EXPECT_EQ(detokenizer.push(2), "the");
    EXPECT_EQ(detokenizer.push(2), " the");
}

}  // namespace
}  // namespace nibble::text
