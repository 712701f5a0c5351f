// The fields that every kind of generation request has in common, read into what the engine and the text need.
//
// Names, types, defaults and ranges: docs/serving.md. Any thread.
#pragma once

#include "base/result.h"
#include "engine/request.h"
#include "server/fields.h"
#include "server/served_model.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace nibble::server {

struct GenerationParams {
    engine::SamplingParams sampling;    // seed drawn, stop_ids filled; max_tokens set by fit_to_context()
    std::optional<int64_t> max_tokens;  // as asked
    int64_t n = 1;
    int priority = 0;

    std::vector<std::string> stop;
    bool include_stop = false;  // a stop string or own stop id is shown
    std::vector<engine::TokenId> own_stop_ids;
    bool skip_special_tokens = true;

    bool stream = false;
    bool include_usage = false;     // a last chunk with the usage
    bool continuous_usage = false;  // usage in each chunk
    bool return_token_ids = false;
    bool tokens_as_ids = false;  // logprobs name tokens "token_id:N"
};

// How the two OpenAI routes differ in the shared fields.
struct GenerationFieldNames {
    bool chat = true;  // max_completion_tokens; at least one token
};

// Reads the fields; mistakes are left in `fields`. `draw` seeds requests that bring no seed.
GenerationParams read_generation_fields(Fields& fields, const ServedModel& model, const GenerationFieldNames& names,
                                        uint64_t draw);

// The name of the model asked for, checked against those served. Errors: not_found, param "model".
Result<std::string> read_model_name(Fields& fields, const ServedModel& model);

// Sets sampling.max_tokens so that prompt and answer fit. Errors: does_not_fit, with both numbers.
Result<void> fit_to_context(GenerationParams& params, const ServedModel& model, size_t prompt_tokens,
                            std::string_view prompt_field);

// The seed of choice i of a request: the request's own for the first, then unrelated ones.
uint64_t choice_seed(uint64_t seed, int64_t choice);

}  // namespace nibble::server
