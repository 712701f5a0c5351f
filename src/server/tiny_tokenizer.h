// A real tokenizer small enough to be written here, for tests of the server: 256 bytes, a few words, and from 300 on
// the added tokens that chat models have. Beside it a chat template with tools, reasoning and an error of its own.
#pragma once

#include "text/tokenizer.h"

#include <memory>
#include <string>
#include <string_view>

namespace nibble::server {

inline constexpr text::TokenId kTinyEnd = 300;   // <|im_end|>
inline constexpr int64_t kTinyVocabulary = 320;  // ids of a model for it; those above 306 the tokenizer does not know

std::string tiny_tokenizer_json();
std::shared_ptr<const text::Tokenizer> tiny_tokenizer();
extern const std::string_view kTinyTemplate;

}  // namespace nibble::server
