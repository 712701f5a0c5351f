// What a tokenizer.json, with the tokenizer_config.json beside it, says: read, checked, and built.
#pragma once

#include "base/result.h"
#include "text/tokenizer/added_tokens.h"
#include "text/tokenizer/bpe.h"
#include "text/tokenizer/decode.h"
#include "text/tokenizer/normalize.h"
#include "text/tokenizer/pretokenize.h"
#include "text/tokenizer/vocabulary.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::text {

// What a post-processor puts around the ids of a text: the text's own stand where a part is the text.
struct PostPart {
    bool is_text = false;
    std::vector<int32_t> ids = {};
};
using PostStep = std::vector<PostPart>;

struct TokenizerParts {
    Vocabulary vocabulary;
    std::optional<Bpe> bpe;  // looks into `vocabulary`
    AddedTokens added;
    Normalizer normalizer;
    PreTokenizer pre_tokenizer;
    std::vector<PostStep> post_steps;
    DecodeChain decoder;
    std::string bos_token, eos_token;  // empty when not given
};

// `config` may be empty. Errors: model_invalid and unsupported, naming `name`, the field, what was expected and found.
Result<std::unique_ptr<const TokenizerParts>> read_tokenizer(std::string_view tokenizer, std::string_view config,
                                                             std::string_view name);

}  // namespace nibble::text
