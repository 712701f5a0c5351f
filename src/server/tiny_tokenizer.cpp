#include "server/tiny_tokenizer.h"

#include "base/check.h"

#include <fmt/format.h>

#include <initializer_list>
#include <set>
#include <string>
#include <utility>

namespace nibble::server {
namespace {

// GPT-2's alphabet of bytes, as JSON text.
std::string byte_piece(int byte) {
    int code = byte;
    const auto printable = [](int b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174; };
    if (!printable(byte)) {
        code = 256;
        for (int b = 0; b < byte; ++b) code += !printable(b);
    }
    if (code == '"' || code == '\\') return fmt::format("\\{}", static_cast<char>(code));
    if (code < 0x80) return std::string(1, static_cast<char>(code));
    return {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 0x3f))};
}

}  // namespace

// 256 bytes, a few words so that tokens are not all letters, and the added tokens that chat models have.
std::string tiny_tokenizer_json() {
    std::string vocab, merges;
    for (int b = 0; b < 256; ++b) vocab += fmt::format("{}\"{}\":{}", b ? "," : "", byte_piece(b), b);
    int id = 256;
    std::set<std::string> known;
    for (const std::string_view word :
         {"\u0120the", "\u0120a", "\u0120of", "\u0120and", "\u0120is", "ing", "hello", "\u0120world", "token"}) {
        std::string left;
        for (size_t i = 0; i < word.size();) {
            const size_t length = static_cast<unsigned char>(word[i]) >= 0x80 ? 2 : 1;
            const std::string piece(word.substr(i, length));
            if (!left.empty() && known.insert(left + piece).second) {
                vocab += fmt::format(",\"{}{}\":{}", left, piece, id++);
                merges += fmt::format("{}\"{} {}\"", merges.empty() ? "" : ",", left, piece);
            }
            left += piece;
            i += length;
        }
    }
    std::string added;
    int next = kTinyEnd;
    for (const auto& [name, special] : std::initializer_list<std::pair<const char*, bool>>{{"<|im_end|>", true},
                                                                                           {"<|im_start|>", true},
                                                                                           {"<|endoftext|>", true},
                                                                                           {"<think>", false},
                                                                                           {"</think>", false},
                                                                                           {"<tool_call>", false},
                                                                                           {"</tool_call>", false}})
        added += fmt::format(
            R"({}{{"id":{},"content":"{}","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":{}}})",
            added.empty() ? "" : ",", next++, name, special);
    return fmt::format(
        R"({{"version":"1.0","added_tokens":[{}],"normalizer":null,"pre_tokenizer":{{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}},"post_processor":null,"decoder":{{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}},"model":{{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"vocab":{{{}}},"merges":[{}]}}}})",
        added, vocab, merges);
}

std::shared_ptr<const text::Tokenizer> tiny_tokenizer() {
    auto tokenizer = text::Tokenizer::parse(tiny_tokenizer_json(), R"({"eos_token":"<|im_end|>"})", "tiny");
    CHECK(tokenizer, "{}", tokenizer.error().message);
    return *tokenizer;
}

const std::string_view kTinyTemplate =
    "{% if tools %}<|im_start|>system\n# Tools\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|im_end|>\n"
    "{% endif %}{% for message in messages %}"
    "{% if message.role == 'system' and not loop.first %}{{ raise_exception('The system message comes first.') }}"
    "{% endif %}<|im_start|>{{ message.role }}\n"
    "{% if message.reasoning_content %}<think>{{ message.reasoning_content }}</think>{% endif %}"
    "{{ message.content or '' }}"
    "{% for call in message.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking %}<think>\n{% endif %}{% endif %}";

}  // namespace nibble::server
