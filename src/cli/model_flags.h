// ModelFlags: the flags by which every verb that runs a model says which, where, and with how much memory.
#pragma once

#include "base/result.h"
#include "device/device.h"

#include <cstdint>
#include <optional>
#include <string>

namespace CLI {
class App;
}

namespace nibble::cli {

struct ModelFlags {
    std::string model;  // "demo", a folder, or org/name[@revision]
    std::string device = "auto";
    int threads = 0;  // 0: the physical cores

    std::optional<int64_t> max_model_len, max_num_seqs, max_num_batched_tokens;
    std::optional<int64_t> memory_budget_bytes, kv_cache_bytes;
    std::optional<double> gpu_memory_utilization;
    std::string kv_cache_dtype = "auto", activation = "bf16";

    std::string chat_template;                       // a file; empty: the checkpoint's
    std::string reasoning_parser, tool_call_parser;  // empty: what the template tells
    bool random_weights = false, verify = false, strict = false;

    std::string config;  // a file that complete_flags() reads
    bool print_config = false;
};

// Tokens of one step, unless the flags say: what a GPU needs to be busy with a prompt, what a CPU does in a moment.
int64_t step_tokens(const ModelFlags& flags, const device::Device& device);

// Binds the flags; `flags` outlives the parsing.
void add_model_flags(CLI::App& verb, ModelFlags& flags);

// Where no model was named, the one that is compiled in; true when it was taken so. Errors: usage when there is none.
Result<bool> default_to_demo(ModelFlags& flags);
inline constexpr const char* kDemoTaken = "no MODEL was named: this is demo, the model that nibble brings along";

}  // namespace nibble::cli
