// QuantScheme: what the checkpoint's configs claim about each module's format.
//
// Sources: hf_quant_config.json (modelopt) and quantization_config in config.json (modelopt, compressed-tensors, fp8);
// either may be alone, the first is preferred. The tensors decide (weights.h); the claim is the cross-check, and audit
// shows where the two disagree. Immutable.
#pragma once

#include "base/result.h"
#include "checkpoint/config.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::checkpoint {

enum class ClaimedFormat {
    none,
    unquantized,
    nvfp4,
    nvfp4_w4a16,
    fp8,
    fp8_per_channel,
    fp8_block,
    mxfp4,
    mxfp8,
    other
};
enum class Dialect { none, modelopt, compressed_tensors, fp8_block };  // names and direction of the scales

std::string_view name(ClaimedFormat format);

struct Claim {
    ClaimedFormat format = ClaimedFormat::none;  // none: the configs say nothing
    // An entry names this module (or its container). Otherwise the claim is what a config says of all modules, which
    // routers, embeddings and norms do not follow: there the tensors alone decide.
    bool named = false;
    std::string algorithm;  // as written: "W4A16_NVFP4"
    std::string because;    // "hf_quant_config.json: exclude_modules[3]"
};

class QuantScheme {
public:
    // hf_quant_config may be null. Errors: unsupported for an algorithm that nibble does not know, model_invalid.
    static Result<QuantScheme> parse(const Config* hf_quant_config, const Config& config);

    // module: the checkpoint's name without ".weight". Any thread.
    Claim claim(std::string_view module) const;
    // What the configs name: a module or a pattern, and its claim.
    struct Entry {
        std::string name;
        Claim claim;
    };
    std::vector<Entry> entries() const;
    Dialect dialect() const;
    bool kv_cache_fp8() const;
    std::string summary() const;  // "modelopt 0.29.0 NVFP4, FP8 KV cache, 60 modules excluded"

private:
    struct State;
    std::shared_ptr<const State> state_;
};

}  // namespace nibble::checkpoint
