// The parts of a tokenizer.json besides its model: normalizer, pre_tokenizer, post_processor, decoder, read into steps.
//
// Anything that nibble cannot do as the Python package does it is refused here, by name.
#pragma once

#include "base/result.h"
#include "text/tokenizer/decode.h"
#include "text/tokenizer/json_field.h"
#include "text/tokenizer/normalize.h"
#include "text/tokenizer/pretokenize.h"
#include "text/tokenizer/tokenizer_file.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace nibble::text {

// Each takes the field's value, or nothing when it is absent or null.
Result<std::vector<NormalizerStep>> read_normalizer(const std::optional<JsonField>& field);
Result<std::vector<PreTokenizerStep>> read_pre_tokenizer(const std::optional<JsonField>& field);
Result<std::vector<PostStep>> read_post_processor(const std::optional<JsonField>& field);
Result<std::vector<DecoderStep>> read_decoder(const std::optional<JsonField>& field);

}  // namespace nibble::text
