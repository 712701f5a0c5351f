#include "text/tokenizer.h"

#include "text/tokenizer/sample_tokenizers.h"
#include "text/tokenizer/vocabulary.h"

#include <gmock/gmock.h>
#include <pthread.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <thread>

namespace nibble::text {
namespace {

using sample::added_token;
using sample::Sample;
using testing::ElementsAre;
using testing::HasSubstr;
using Ids = std::vector<TokenId>;

std::vector<std::string> pieces(const Tokenizer& tokenizer, std::string_view text, const EncodeOptions& options = {}) {
    std::vector<std::string> out;
    for (const TokenId id : tokenizer.encode(text, options)) out.emplace_back(tokenizer.token_piece(id));
    return out;
}

Error refusal(const std::string& json, const std::string& config = "") {
    auto tokenizer = Tokenizer::parse(json, config, "tokenizer.json");
    if (tokenizer) return {ErrorCode::internal, "was not refused"};
    return tokenizer.error();
}

// The definition: merge the adjacent pair of the lowest rank, the leftmost of equals, until there is none.
std::vector<std::string> merged_by_definition(std::vector<std::string> symbols,
                                              const std::vector<std::pair<std::string, std::string>>& merges) {
    while (true) {
        size_t best_rank = merges.size(), best = 0;
        for (size_t i = 0; i + 1 < symbols.size(); i++) {
            for (size_t rank = 0; rank < best_rank; rank++) {
                if (merges[rank].first == symbols[i] && merges[rank].second == symbols[i + 1]) {
                    best_rank = rank;
                    best = i;
                }
            }
        }
        if (best_rank == merges.size()) return symbols;
        symbols[best] += symbols[best + 1];
        symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(best) + 1);
    }
}

TEST(Tokenizer, MergesTheLowestRankFirstAndOfEqualsTheLeftmost) {
    const auto tokenizer = sample::byte_level({{"b", "c"}, {"a", "b"}, {"a", "a"}}).load();
    EXPECT_THAT(pieces(*tokenizer, "abc"), ElementsAre("a", "bc"));
    EXPECT_THAT(pieces(*tokenizer, "aaa"), ElementsAre("aa", "a"));
    EXPECT_THAT(pieces(*tokenizer, "a bc"), ElementsAre("a", "Ġ", "bc"));
}

// Merges in any order, so that a merge can make a pair whose rank is lower than its own, and pieces that are made in
// several ways: nothing that training would give, and all that a file may say.
TEST(Tokenizer, AgreesWithTheDefinitionForAnyMergesAndWordsOfAnyLength) {
    std::mt19937 random(1);
    for (int round = 0; round < 60; round++) {
        std::vector<std::pair<std::string, std::string>> merges;
        std::vector<std::string> known = {"a", "b", "c"};
        Sample sample;
        sample.pieces = known;
        for (int i = 0; i < 40; i++) {
            const auto pair = std::pair(known[random() % known.size()], known[random() % known.size()]);
            if ((pair.first + pair.second).size() > 9 || std::count(merges.begin(), merges.end(), pair) > 0) continue;
            merges.push_back(pair);
            if (std::count(known.begin(), known.end(), pair.first + pair.second) == 0) {
                known.push_back(pair.first + pair.second);
            }
        }
        std::shuffle(merges.begin(), merges.end(), random);
        sample.pieces = known;
        sample.merges = merges;
        const auto tokenizer = sample.load();
        for (const size_t length : {1, 2, 7, 23, 24, 25, 26, 60, 300}) {
            std::vector<std::string> symbols;
            std::string word;
            for (size_t i = 0; i < length; i++) symbols.emplace_back(1, "abc"[random() % (1 + round % 3)]);
            for (const auto& symbol : symbols) word += symbol;
            EXPECT_EQ(pieces(*tokenizer, word), merged_by_definition(symbols, merges)) << word;
        }
    }
}

TEST(Tokenizer, TheLastRankOfAMergeThatComesTwiceCounts) {
    Sample sample;
    sample.pieces = {"a", "b", "c", "ab", "bc"};
    sample.merges = {{"a", "b"}, {"b", "c"}, {"a", "b"}};
    EXPECT_THAT(pieces(*sample.load(), "abc"), ElementsAre("a", "bc"));
}

TEST(Tokenizer, IgnoreMergesTakesAWordThatIsAPiece) {
    Sample sample = sample::byte_level({{"a", "b"}});
    sample.pieces.push_back("Ġwhole");
    sample.model_options = R"(,"ignore_merges":true)";
    const auto tokenizer = sample.load();
    EXPECT_THAT(pieces(*tokenizer, "ab whole wholes"), ElementsAre("ab", "Ġwhole", "Ġ", "w", "h", "o", "l", "e", "s"));
}

TEST(Tokenizer, UnknownCharactersBecomeBytesOrUnknownOrNothing) {
    Sample sample;
    sample.pieces = {"a", "<unk>", "<0xC3>", "<0xA9>"};
    sample.model_options = R"(,"unk_token":"<unk>","byte_fallback":true,"fuse_unk":true)";
    EXPECT_THAT(pieces(*sample.load(), "aéaxya"), ElementsAre("a", "<0xC3>", "<0xA9>", "a", "<unk>", "a"));
    // An unknown character waits for a known one; bytes are none.
    EXPECT_THAT(pieces(*sample.load(), "xéa"), ElementsAre("<0xC3>", "<0xA9>", "<unk>", "a"));
    sample.model_options = R"(,"unk_token":"<unk>","byte_fallback":true)";
    EXPECT_THAT(pieces(*sample.load(), "xya"), ElementsAre("<unk>", "<unk>", "a"));
    sample.model_options = "";
    EXPECT_THAT(pieces(*sample.load(), "xaéa"), ElementsAre("a", "a"));
}

TEST(Tokenizer, AddedTokensAreFoundLongestFirstAndTakeTheirSpaces) {
    Sample sample = sample::byte_level();
    sample.added = "[" + added_token(256, "<x>") + "," + added_token(257, "<x><y>") + "," +
                   added_token(258, "[L]", "lstrip") + "," + added_token(259, "[R]", "rstrip") + "," +
                   added_token(260, "word", "single_word") + "]";
    const auto tokenizer = sample.load();
    EXPECT_THAT(pieces(*tokenizer, "a<x><y><x>"), ElementsAre("a", "<x><y>", "<x>"));
    EXPECT_THAT(pieces(*tokenizer, "a \n[L] b"), ElementsAre("a", "[L]", "Ġ", "b"));
    EXPECT_THAT(pieces(*tokenizer, "a [R] \tb"), ElementsAre("a", "Ġ", "[R]", "b"));
    EXPECT_THAT(pieces(*tokenizer, "word"), ElementsAre("word"));
    EXPECT_THAT(pieces(*tokenizer, "word."), ElementsAre("word", "."));
    EXPECT_EQ(pieces(*tokenizer, "words").size(), 5u);
    EXPECT_EQ(pieces(*tokenizer, "éword").size(), 6u);
}

TEST(Tokenizer, UntrustedTextNeverBecomesASpecialToken) {
    Sample sample = sample::byte_level({{"<", "s"}, {"<s", ">"}});
    sample.pre_tokenizer = R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false})";
    sample.added = "[" + added_token(257, "<s>", "special") + "," + added_token(258, "<think>") + "]";
    const EncodeOptions untrusted{.parse_special = false};
    for (const bool ignore_merges : {false, true}) {
        sample.model_options = fmt::format(R"(,"ignore_merges":{})", ignore_merges);
        const auto tokenizer = sample.load();
        EXPECT_THAT(pieces(*tokenizer, "<s>"), ElementsAre("<s>"));
        EXPECT_THAT(pieces(*tokenizer, "<s>", untrusted), ElementsAre("<s", ">"));
        EXPECT_THAT(pieces(*tokenizer, "<s>"), ElementsAre("<s>"));  // one does not disturb the other's cache
        EXPECT_THAT(pieces(*tokenizer, "<think>"), ElementsAre("<think>"));
        EXPECT_EQ(pieces(*tokenizer, "<think>", untrusted).size(), 7u);
    }
}

TEST(Tokenizer, BytesThatAreNoUtf8AreReadAsReplacementCharacters) {
    const auto tokenizer = sample::byte_level().load();
    EXPECT_EQ(tokenizer->encode("a\xFF\xE2\x82z"), tokenizer->encode("a\uFFFD\uFFFDz"));
    EXPECT_EQ(tokenizer->decode(tokenizer->encode("\xC3"), false), "\uFFFD");
}

TEST(Tokenizer, ThePostProcessorAddsTokensWhenAsked) {
    Sample sample = sample::byte_level();
    sample.added = "[" + added_token(256, "<s>", "special") + "," + added_token(257, "</s>", "special") + "]";
    sample.post_processor =
        R"({"type":"Sequence","processors":[{"type":"ByteLevel"},{"type":"TemplateProcessing","single":[)"
        R"({"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[],)"
        R"("special_tokens":{"<s>":{"id":"<s>","ids":[256],"tokens":["<s>"]}}}]})";
    auto tokenizer = sample.load();
    EXPECT_THAT(pieces(*tokenizer, "a", {.add_special_tokens = true}), ElementsAre("<s>", "a"));
    EXPECT_THAT(pieces(*tokenizer, "", {.add_special_tokens = true}), ElementsAre("<s>"));
    EXPECT_THAT(pieces(*tokenizer, "a"), ElementsAre("a"));
    sample.post_processor = R"({"type":"RobertaProcessing","sep":["</s>",257],"cls":["<s>",256]})";
    tokenizer = sample.load();
    EXPECT_THAT(pieces(*tokenizer, "a", {.add_special_tokens = true}), ElementsAre("<s>", "a", "</s>"));
}

TEST(Tokenizer, DecodeSkipsSpecialTokensAndUnknownIds) {
    Sample sample = sample::byte_level({{"h", "i"}});
    sample.added = "[" + added_token(257, "<|end|>", "special") + "," + added_token(300, "<think>") + "]";
    const auto tokenizer = sample.load();
    EXPECT_EQ(tokenizer->vocab_size(), 301);
    const Ids ids = {256, 257, 299, 300, -1, 1 << 30};
    EXPECT_EQ(tokenizer->decode(ids, true), "hi<think>");
    EXPECT_EQ(tokenizer->decode(ids, false), "hi<|end|><think>");
    EXPECT_TRUE(tokenizer->is_special(257));
    EXPECT_FALSE(tokenizer->is_special(300));
    EXPECT_TRUE(tokenizer->is_known(300));
    EXPECT_FALSE(tokenizer->is_known(299));
    EXPECT_EQ(tokenizer->token_bytes(-1), "");
    EXPECT_EQ(tokenizer->token_bytes(*tokenizer->token_id("Ġ")), " ");
    EXPECT_EQ(tokenizer->token_id("<think>"), 300);
    EXPECT_EQ(tokenizer->token_id("nothing"), std::nullopt);
}

TEST(Tokenizer, TokenBytesAreWhatATokenStandsForInsideAText) {
    Sample sample;
    sample.pieces = {"▁the", "<0xE2>", "e", "<s>"};
    sample.decoder = R"({"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},)"
                     R"({"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]})";
    const auto tokenizer = sample.load();
    EXPECT_EQ(tokenizer->token_bytes(0), " the");
    EXPECT_EQ(tokenizer->token_bytes(1), "\xE2");
    EXPECT_TRUE(tokenizer->decode_strips_leading_space());
    EXPECT_EQ(tokenizer->decode(Ids{0, 2, 0}, false), "thee the");
    EXPECT_FALSE(sample::byte_level().load()->decode_strips_leading_space());
}

TEST(Tokenizer, TheConfigAddsTokensAndCorrectsTheirFlags) {
    Sample sample = sample::byte_level();
    sample.pieces.push_back("<eos>");
    sample.added = "[" + added_token(257, "<a>") + "]";
    const auto tokenizer = sample.load(
        R"({"added_tokens_decoder":{"257":{"content":"<a>","special":true},"260":{"content":"<b>","special":false}},)"
        R"("eos_token":"<eos>","bos_token":{"content":"<a>","lstrip":false},"pad_token":null,"unk_token":"<none>"})");
    EXPECT_EQ(tokenizer->eos_token(), "<eos>");
    EXPECT_EQ(tokenizer->eos_id(), 256);
    EXPECT_EQ(tokenizer->bos_token(), "<a>");
    EXPECT_TRUE(tokenizer->is_special(257));
    EXPECT_TRUE(tokenizer->is_special(256));  // special by name alone
    EXPECT_THAT(pieces(*tokenizer, "<b><eos>"), ElementsAre("<b>", "<eos>"));
    EXPECT_EQ(tokenizer->vocab_size(), 261);
    EXPECT_EQ(tokenizer->token_id("<none>"), std::nullopt);
}

TEST(Tokenizer, ContradictionsBetweenTheFilesAreRefused) {
    Sample sample = sample::byte_level();
    sample.added = "[" + added_token(256, "<a>") + "]";
    const auto decoder = [](std::string_view id, std::string_view content) {
        return fmt::format(R"({{"added_tokens_decoder":{{"{}":{{"content":"{}"}}}}}})", id, content);
    };
    for (const auto& [id, content] : std::vector<std::pair<std::string, std::string>>{
             {"257", "<a>"}, {"256", "<b>"}, {"0", "<b>"}, {"300", "!"}, {"-1", "<b>"}, {"x", "<b>"}, {"", "<b>"}}) {
        const Error error = refusal(sample.json(), decoder(id, content));
        EXPECT_EQ(error.code, ErrorCode::model_invalid) << id << content;
        EXPECT_THAT(error.message, HasSubstr("tokenizer_config.json: added_tokens_decoder." + id));
    }
    EXPECT_THAT(refusal(sample.json(), "{").message, HasSubstr("tokenizer_config.json"));
    EXPECT_THAT(refusal(sample.json(), R"({"eos_token":7})").message,
                HasSubstr("eos_token: expected a string, found 7"));
}

struct Damage {
    std::string_view from, to, message;
};

TEST(Tokenizer, WhatDoesNotFitIsRefusedByName) {
    Sample sample;
    sample.pieces = {"a", "b", "ab"};
    sample.merges = {{"a", "b"}};
    sample.added = "[" + added_token(3, "<x>") + "]";
    sample.pre_tokenizer = R"({"type":"Split","pattern":{"Regex":"\\s"},"behavior":"Isolated","invert":false})";
    const std::string json = sample.json();
    ASSERT_TRUE(Tokenizer::parse(json, "", "tokenizer.json"));
    for (const Damage& damage : std::vector<Damage>{
             {R"("version":"1.0")", R"("version":"2.0")", "version: version 2.0 is not supported; supported: 1.0"},
             {R"("type":"BPE")", R"("type":"Unigram")",
              "model.type: the model Unigram is not supported; supported: BPE"},
             {R"("ab":2)", R"("ab":"2")", "model.vocab.ab: expected an id from 0 to"},
             {R"("ab":2)", R"("ab":2.5)", "model.vocab.ab: expected an id"},
             {R"("ab":2)", R"("ab":-1)", "found -1"},
             {R"("ab":2)", R"("ab":4294967296)", "found 4294967296"},
             {R"("ab":2)", R"("ab":18446744073709551615)", "model.vocab.ab: expected an id"},
             {R"("ab":2)", R"("ab":1)", "expected an id of its own, not that of \"b\", found 1"},
             {R"("ab":2)", R"("ab":2,"a":7)", "model.vocab.a: expected the piece once"},
             {R"([["a","b"]])", R"([["a","c"]])", "model: merges[0]: expected pieces of the vocabulary, found \"c\""},
             {R"([["a","b"]])", R"([["b","a"]])", "expected the result \"ba\" in the vocabulary, found none"},
             {R"([["a","b"]])", R"(["a"])", "model.merges[0]: expected two pieces with one space between, found \"a\""},
             {R"([["a","b"]])", R"(["a b c"])", "model.merges[0]: expected two pieces"},
             {R"([["a","b"]])", R"([["a","b","c"]])", "model.merges[0]: expected two pieces"},
             {R"([["a","b"]])", R"([["a",1]])", "model.merges[0]: expected two pieces"},
             {R"([["a","b"]])", R"({})", "model.merges: expected an array, found an object"},
             {R"("merges")", R"("other")", "model.merges: expected the field, found none"},
             {R"("vocab")", R"("other")", "model.vocab: expected the field, found none"},
             {R"("id":3)", R"("id":-3)", "added_tokens[0].id: expected an integer from 0"},
             {R"("id":3)", R"("id":2)", "\"ab\" with id 2, found \"<x>\" with id 2"},
             {R"("content":"<x>")", R"("content":"ab")", "\"ab\" with id 2, found \"ab\" with id 3"},
             {R"("content":"<x>")", R"("content":null)", "added_tokens[0].content: expected a string, found null"},
             {R"("special":false)", R"("special":0)", "added_tokens[0].special: expected true or false, found 0"},
             {R"("special":false,)", "", "added_tokens[0].special: expected the field, found none"},
             {R"("type":"Split")", R"("type":"UnicodeScripts")", "the pre-tokenizer UnicodeScripts is not supported"},
             {R"("behavior":"Isolated")", R"("behavior":"Cut")", "pre_tokenizer.behavior: expected Removed, Isolated"},
             {R"("Regex":"\\s")", R"("Regex":"(")", "pre_tokenizer.pattern.Regex"},
             {R"("Regex":"\\s")", R"("Regex":"(a)\\1")", "\\1 at byte 4 of the pattern (a)\\1 is not supported"},
             {R"("Regex":"\\s")", R"("Other":"x")", "expected {\"String\": …} or {\"Regex\": …}"},
             {R"("normalizer":null)", R"("normalizer":{"type":"Precompiled"})", "the normalizer Precompiled is not"},
             {R"("normalizer":null)", R"("normalizer":[])", "normalizer: expected an object, found an array of 0"},
             {R"("decoder":null)", R"("decoder":{"type":"CTC"})",
              "the decoder CTC is not supported; supported: Sequence"},
             {R"("post_processor":null)", R"("post_processor":{"type":"BertProcessing","sep":["x",9],"cls":["y",0]})",
              "post_processor: expected ids of known tokens, found 9"},
             {R"("merges")", R"("dropout":0.1,"merges")", "model.dropout: dropout, which makes encoding random,"},
             {R"("merges")", R"("unk_token":"?","merges")", "model.unk_token: expected a piece of the vocabulary"},
             {R"("merges")", R"("byte_fallback":"yes","merges")", "model.byte_fallback: expected true or false"},
             {R"("merges")", R"("vocab":{},"merges")", "model.vocab: expected the field once, found it twice"},
         }) {
        std::string damaged = json;
        const size_t at = damaged.find(damage.from);
        ASSERT_NE(at, std::string::npos) << damage.from;
        damaged.replace(at, damage.from.size(), damage.to);
        const Error error = refusal(damaged);
        EXPECT_THAT(error.message, HasSubstr(damage.message)) << damage.to;
        EXPECT_THAT(error.message, HasSubstr("tokenizer.json: "));
        EXPECT_TRUE(error.code == ErrorCode::model_invalid || error.code == ErrorCode::unsupported);
    }
}

TEST(Tokenizer, DamagedFilesAreRefused) {
    const std::string json = sample::byte_level({{"a", "b"}}).json();
    for (size_t size = 0; size < json.size(); size += 7) {
        EXPECT_EQ(refusal(json.substr(0, size)).code, ErrorCode::model_invalid) << size;
    }
    EXPECT_EQ(refusal(json + "x").code, ErrorCode::model_invalid);
    EXPECT_EQ(refusal("[1]").code, ErrorCode::model_invalid);
    std::string broken = json;
    broken[broken.find("\"a\"") + 1] = '\xFF';
    EXPECT_EQ(refusal(broken).code, ErrorCode::model_invalid);
    std::mt19937 random(2);
    for (int i = 0; i < 3000; i++) {  // whatever becomes of it, nothing but a refusal or a tokenizer
        std::string changed = json;
        for (int n = 0; n < 3; n++) changed[random() % changed.size()] = static_cast<char>(random());
        auto tokenizer = Tokenizer::parse(changed, "", "tokenizer.json");
        if (tokenizer) (*tokenizer)->encode("some ab text");
    }
}

TEST(Tokenizer, DeepNestingIsRefusedOnASmallStack) {
    std::string sequences, ends, brackets(100'000, '[');
    for (int i = 0; i < 100'000; i++) {
        sequences += R"({"type":"Sequence","normalizers":[)";
        ends += "]}";
    }
    Sample sample = sample::byte_level();
    sample.normalizer = sequences + ends;
    const std::string deep_json = sample.json();
    std::string parentheses;
    for (int i = 0; i < 5'000; i++) parentheses += "(";
    sample.normalizer = "null";
    sample.pre_tokenizer = fmt::format(
        R"({{"type":"Split","pattern":{{"Regex":"{}a"}},"behavior":"Isolated","invert":false}})", parentheses);
    struct Work {
        std::vector<std::string> files;
        std::vector<ErrorCode> codes;
    } work{{deep_json, brackets, sample.json()}, {}};
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
#ifdef __SANITIZE_ADDRESS__
    constexpr size_t kStack = 2048 * 1024;  // its frames are several times as large
#else
    constexpr size_t kStack = 256 * 1024;
#endif
    pthread_attr_setstacksize(&attributes, kStack);
    pthread_t thread;
    ASSERT_EQ(pthread_create(
                  &thread, &attributes,
                  [](void* argument) -> void* {
                      auto& todo = *static_cast<Work*>(argument);
                      for (const std::string& file : todo.files) todo.codes.push_back(refusal(file).code);
                      return nullptr;
                  },
                  &work),
              0);
    pthread_join(thread, nullptr);
    pthread_attr_destroy(&attributes);
    EXPECT_THAT(work.codes, ElementsAre(ErrorCode::model_invalid, ErrorCode::model_invalid, ErrorCode::unsupported));
}

TEST(Tokenizer, LoadsAFolderAndSaysWhatIsMissing) {
    const auto folder = std::filesystem::temp_directory_path() / fmt::format("nibble-tokenizer-{}", getpid());
    std::filesystem::create_directories(folder);
    EXPECT_EQ(Tokenizer::load(folder).error().code, ErrorCode::not_found);
    std::ofstream(folder / "tokenizer.json") << sample::byte_level().json();
    std::ofstream(folder / "tokenizer_config.json") << R"({"eos_token":"!"})";
    auto tokenizer = Tokenizer::load(folder);
    ASSERT_TRUE(tokenizer) << tokenizer.error().message;
    EXPECT_EQ((*tokenizer)->eos_token(), "!");
    std::ofstream(folder / "tokenizer.json") << "{";
    EXPECT_THAT(Tokenizer::load(folder).error().message, HasSubstr((folder / "tokenizer.json").string()));
    std::filesystem::remove_all(folder);
}

TEST(Tokenizer, ThreadsAndTokenizersShareNothing) {
    const auto first = sample::byte_level({{"a", "b"}}).load();
    const auto second = sample::byte_level({{"b", "c"}}).load();
    std::vector<std::jthread> threads;
    for (unsigned seed = 0; seed < 4; seed++) {
        threads.emplace_back([&, seed] {
            std::mt19937 random(seed);
            for (int i = 0; i < 200; i++) {
                const std::string text = sample::random_text(random, 20) + "abc";
                EXPECT_EQ(first->encode("abc"), (Ids{256, static_cast<TokenId>(*first->token_id("c"))}));
                EXPECT_EQ(second->encode("abc"), (Ids{static_cast<TokenId>(*second->token_id("a")), 256}));
                EXPECT_EQ(first->decode(first->encode(text), false), text);
            }
        });
    }
}

// Time may a little more than double with the text. The best of several, in CPU time, so that a busy machine says
// little.
TEST(Tokenizer, TimeGrowsInStepWithTheText) {
    std::vector<std::pair<std::string, std::string>> merges;
    for (std::string run = "a"; run.size() < 64; run += run) merges.emplace_back(run, run);
    for (const char* pair : {"ab", "ba", "er", "in", "th", "he"}) {
        merges.emplace_back(std::string(1, pair[0]), std::string(1, pair[1]));
    }
    Sample sample = sample::byte_level(merges);
    sample.normalizer = R"({"type":"NFC"})";
    sample.added = "[" + added_token(static_cast<int>(sample.pieces.size()), "<|im_start|>") + "]";
    const auto tokenizer = sample.load();
    const auto seconds = [&](const std::string& text) {
        double best = 1e9;
        for (int i = 0; i < 3; i++) {
            timespec begin{}, end{};
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
            tokenizer->encode(text);
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
            best = std::min(best, static_cast<double>(end.tv_sec - begin.tv_sec) +
                                      static_cast<double>(end.tv_nsec - begin.tv_nsec) * 1e-9);
        }
        return best;
    };
    for (const std::string unit : {"a", " ", "\n", "\u0301", "字", "1", "'", "ab", " a", "<|im_star", "\u0301\u0316",
                                   "\xFF", "the quick brown fox, 1234 times!\n"}) {
        std::string text;
        while (text.size() < (1u << 18)) text += unit;
        const double once = seconds(text);
        const double fourfold = seconds(text + text + text + text);
        EXPECT_LT(fourfold, 4 * 2.5 * once + 2e-3) << sample::json_string(unit);  // quadratic would be 16
        printf("%-40s %6.1f MB/s\n", sample::json_string(unit).c_str(),
               4e-6 * static_cast<double>(text.size()) / fourfold);
    }
}

TEST(Vocabulary, FindsAllThatWasAddedAndNothingElse) {
    Vocabulary vocabulary;
    std::vector<std::string> words;
    for (int i = 0; i < 5000; i++) words.push_back(fmt::format("{}", i * 7919));
    for (int i = 0; i < 5000; i++) ASSERT_EQ(vocabulary.add(words[i], i * 3), Vocabulary::Added::yes);
    EXPECT_EQ(vocabulary.add("0", 1), Vocabulary::Added::piece_known);
    EXPECT_EQ(vocabulary.add("new", 3), Vocabulary::Added::id_taken);
    std::vector<std::string_view> wanted(words.begin(), words.end());
    wanted.push_back("absent");
    std::vector<int32_t> ids(wanted.size());
    vocabulary.find_all(wanted, ids);
    for (int i = 0; i < 5000; i++) {
        EXPECT_EQ(ids[i], i * 3);
        EXPECT_EQ(vocabulary.find(words[i]), i * 3);
        EXPECT_EQ(vocabulary.piece(i * 3), words[i]);
    }
    EXPECT_EQ(ids.back(), Vocabulary::kNone);
    EXPECT_FALSE(vocabulary.has(1));
    EXPECT_EQ(vocabulary.id_end(), 4999 * 3 + 1);
}

}  // namespace
}  // namespace nibble::text
