// CheckpointSurvey: a model folder as its files present themselves, for audit: which modules there are, how each is
// stored, what the configs claim, and everything that is wrong with it, rather than the first thing.
//
// Reads headers and configs alone. Made once, immutable.
#pragma once

#include "base/result.h"
#include "checkpoint/checkpoint.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::cli {

struct Finding {
    enum class Severity { warning, error } severity = Severity::error;
    ErrorCode code = ErrorCode::model_invalid;  // of an error
    std::string message;                        // file, field or tensor, expected, found
};

struct SurveyedModule {
    std::string stored;   // "NVFP4": what its tensors are; empty where there are no headers
    std::string claimed;  // "NVFP4", "unquantised"; empty: the configs say nothing of it
    std::string because;  // "hf_quant_config.json: exclude_modules[3] 'lm_head'"
    uint64_t bytes = 0, tensors = 0;
    bool is_matrix = false;
};

struct CheckpointSurvey {
    enum class Basis { tensors, index, config };

    // Opened with headers only, and as far as it can be opened; null when not even the configs can be read.
    std::shared_ptr<const checkpoint::Checkpoint> checkpoint;
    Basis basis = Basis::config;
    std::map<std::string, SurveyedModule, std::less<>> modules;  // none with Basis::config
    uint64_t tensors = 0, bytes = 0, files = 0;                  // bytes: 0 where nothing tells
    uint64_t matrices = 0, matrices_as_claimed = 0;
    std::vector<Finding> findings;
    std::vector<std::string> assumptions;
};

// Errors: not_found, when there is no folder or no config.json in it. All else is a finding.
Result<CheckpointSurvey> survey_checkpoint(const Folder& folder);

// The name with every number between dots as '*': what is alike in all layers. "layers.3.mlp.experts.17.up_proj" is
// "layers.*.mlp.experts.*.up_proj".
std::string alike(std::string_view module);

}  // namespace nibble::cli
