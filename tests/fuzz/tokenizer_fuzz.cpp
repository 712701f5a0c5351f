// Any bytes as text, and as ids: encoding a byte-level text loses nothing, literal text gives no special token, and a
// stream of any ids is what they decode to.
#include "text/detokenizer.h"
#include "text/tokenizer.h"
#include "text/tokenizer/pattern.h"
#include "text/tokenizer/sample_tokenizers.h"
#include "text/tokenizer/utf8.h"

#include <array>
#include <cstdint>
#include <cstdlib>

namespace {

using namespace nibble::text;

std::shared_ptr<const Tokenizer> nemotron_like() {
    sample::Sample sample = sample::byte_level(
        {{"a", "a"}, {"aa", "aa"}, {"t", "h"}, {"th", "e"}, {"Ġ", "the"}, {"Ġ", "Ġ"}, {"Ã", "©"}, {"Ċ", "Ċ"}});
    const auto id = static_cast<int>(sample.pieces.size());
    sample.added = "[" + sample::added_token(id, "<|end|>", "special") + "," + sample::added_token(id + 1, "<t>") + "]";
    sample.pre_tokenizer =
        R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":)"
        R"("[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|)"
        R"([^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}|)"
        R"( ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},"behavior":"Isolated","invert":false},)"
        R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})";
    return sample.load();
}

std::shared_ptr<const Tokenizer> gemma_like() {
    sample::Sample sample;
    sample.pieces = {"<unk>", "▁", "t", "h", "e", "th", "the", "▁the", "▁▁", "é"};
    for (int b = 0; b < 256; b++) sample.pieces.push_back(fmt::format("<0x{:02X}>", b));
    sample.merges = {{"t", "h"}, {"th", "e"}, {"▁", "the"}, {"▁", "▁"}};
    sample.model_options = R"(,"unk_token":"<unk>","byte_fallback":true,"fuse_unk":true)";
    sample.normalizer =
        R"({"type":"Sequence","normalizers":[{"type":"NFKC"},{"type":"Replace","pattern":{"String":" "},)"
        R"("content":"▁"}]})";
    sample.decoder = R"({"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},)"
                     R"({"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]})";
    return sample.load();
}

void expect(bool truth) {
    if (!truth) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const auto bytes = nemotron_like();
    static const auto pieces = gemma_like();
    const std::string_view text(reinterpret_cast<const char*>(data), size);

    const auto ids = bytes->encode(text);
    expect(bytes->decode(ids, false) == utf8::lossy(text));
    for (const TokenId id : bytes->encode(text, {.parse_special = false})) expect(!bytes->is_special(id));
    for (const TokenId id : pieces->encode(text)) expect(pieces->is_known(id));

    for (const auto& tokenizer : std::array{bytes, pieces}) {
        std::vector<TokenId> any;
        for (size_t i = 0; i < size; i++) any.push_back(static_cast<TokenId>(data[i]) * 5 / 4 - 2);
        Detokenizer detokenizer(tokenizer, size % 2 == 0);
        std::string streamed;
        for (const TokenId id : any) {
            const std::string piece = detokenizer.push(id);
            expect(utf8::is_valid(piece));
            streamed += piece;
        }
        expect(streamed + detokenizer.flush() == tokenizer->decode(any, size % 2 == 0));
    }

    // The first line as a regular expression, the rest as its text.
    const size_t line = std::min(text.find('\n'), size);
    if (auto pattern = Pattern::regex(text.substr(0, line))) {
        const std::string rest = utf8::lossy(text.substr(line));
        Pattern::Matches matches(*pattern);
        matches.start(rest);
        size_t begin = 0, end = 0, before = 0;
        while (matches.next(begin, end)) {
            expect(before <= begin && begin <= end && end <= rest.size());
            before = end;
        }
    }
    return 0;
}
