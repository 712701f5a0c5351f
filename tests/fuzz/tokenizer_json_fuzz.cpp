// tokenizer.json of any bytes: refused with a reason, or a tokenizer that encodes, decodes and streams.
#include "text/detokenizer.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace nibble::text;
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    // What stands behind a zero byte is the config.
    const size_t zero = bytes.find('\0');
    auto loaded = Tokenizer::parse(
        bytes.substr(0, zero), zero == std::string_view::npos ? std::string_view() : bytes.substr(zero + 1), "fuzz");
    if (!loaded) {
        if (loaded.error().message.empty()) std::abort();
        return 0;
    }
    const auto tokenizer = *loaded;
    for (const bool flag : {false, true}) {
        auto ids = tokenizer->encode("The quick  brown\tfox's 123 é\u0301字 <|im_start|>\n",
                                     {.parse_special = flag, .add_special_tokens = !flag});
        for (const TokenId id : ids) {
            if (!tokenizer->is_known(id)) std::abort();
        }
        for (TokenId id = -1; id <= tokenizer->vocab_size() && id < 300; id++) ids.push_back(id);
        Detokenizer detokenizer(tokenizer, flag);
        std::string streamed;
        for (const TokenId id : ids) streamed += detokenizer.push(id);
        streamed += detokenizer.flush();
        if (streamed != tokenizer->decode(ids, flag)) std::abort();
    }
    return 0;
}
