// Rotary: the inverse frequencies of a config's rotary embedding, whatever its scaling kind.
#pragma once

#include "base/result.h"
#include "checkpoint/config.h"

#include <cstdint>
#include <vector>

namespace nibble::model {

struct Rotary {
    std::vector<float> inv_freq;  // [R/2], as float32 arithmetic gives them
    float scale = 1.0f;           // of cos and sin (yarn, longrope)
    int64_t max_context = 0;      // positions for which these frequencies are the right ones
};

// From rope_scaling or rope_parameters, rope_theta and partial_rotary_factor (in either place): default, linear,
// dynamic, yarn, longrope, llama3, proportional. Source: transformers' modeling_rope_utils.
//   dynamic: within max_position_embeddings it is the default kind.
//   longrope: beyond original_max_position_embeddings *every* position of the sequence turns by other frequencies, also
//   those already cached, so the context ends there.
// Errors: unsupported for an unknown kind, model_invalid.
Result<Rotary> read_rotary(const checkpoint::Config& config, int64_t head_dim, int64_t max_position_embeddings);

}  // namespace nibble::model
