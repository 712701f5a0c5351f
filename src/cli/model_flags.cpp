#include "cli/model_flags.h"

#include "checkpoint/checkpoint.h"
#include "cli/byte_size.h"
#include "cli/option_checks.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

namespace nibble::cli {
namespace {

void add_size(CLI::App& verb, const char* name, std::optional<int64_t>& bytes, const char* description) {
    verb.add_option(
            name,
            [&bytes](const CLI::results_t& given) {
                bytes = parse_byte_size(given.front());
                return bytes.has_value();
            },
            description)
        ->type_name("SIZE")
        ->check([](const std::string& text) {
            return parse_byte_size(text) ? std::string() : fmt::format("expected a size such as 24GiB, found {}", text);
        });
}

}  // namespace

int64_t step_tokens(const ModelFlags& flags, const device::Device& device) {
    return flags.max_num_batched_tokens.value_or(device.is_cpu() ? 512 : 2048);
}

void add_model_flags(CLI::App& verb, ModelFlags& flags) {
    verb.add_option("model", flags.model, "demo, a folder, or org/name[@revision] in the Hugging Face cache")
        ->type_name("");
    verb.add_option("--device", flags.device, "cpu, cuda, cuda:1; auto: a GPU that there are kernels for, else the CPU")
        ->capture_default_str()
        ->type_name("NAME");
    verb.add_option("--threads", flags.threads, "Workers on the CPU; 0: the physical cores")
        ->capture_default_str()
        ->check(in_range(0, 4096))
        ->type_name("N");
    verb.add_option("--max-model-len", flags.max_model_len, "Tokens of one sequence, prompt and answer")
        ->check(in_range(int64_t{1}, int64_t{1} << 40))
        ->type_name("N")
        ->default_str("the model's, or what fits");
    verb.add_option("--max-num-seqs", flags.max_num_seqs, "Sequences that run at once")
        ->check(in_range(int64_t{1}, int64_t{65536}))
        ->type_name("N");
    verb.add_option("--max-num-batched-tokens", flags.max_num_batched_tokens, "Tokens of one step: how prompts are cut")
        ->default_str("512; 2048 on a GPU")
        ->check(in_range(int64_t{1}, int64_t{65536}))
        ->type_name("N");
    add_size(verb, "--memory-budget", flags.memory_budget_bytes, "Everything together stays below it");
    add_size(verb, "--kv-cache-memory", flags.kv_cache_bytes, "For keys and values");
    verb.add_option("--gpu-memory-utilization", flags.gpu_memory_utilization,
                    "Understood for compatibility: at most this share of the device's memory")
        ->check(in_range(0.01, 1.0))
        ->type_name("SHARE");
    verb.add_option("--kv-cache-dtype", flags.kv_cache_dtype, "auto, bfloat16, float32, fp8")
        ->capture_default_str()
        ->check(one_of({"auto", "bfloat16", "bf16", "float32", "f32", "fp8", "fp8_e4m3"}))
        ->type_name("TYPE");
    verb.add_option("--activation", flags.activation, "bf16, or f32 to compare with a float32 reference")
        ->capture_default_str()
        ->check(one_of({"bf16", "f32"}))
        ->type_name("TYPE");
    verb.add_option("--chat-template", flags.chat_template, "A Jinja file instead of the checkpoint's")
        ->check(existing_file())
        ->type_name("FILE");
    verb.add_option("--reasoning-parser", flags.reasoning_parser, "How the model writes its reasoning")
        ->type_name("NAME")
        ->default_str("by the template");
    verb.add_option("--tool-call-parser", flags.tool_call_parser, "How the model writes tool calls")
        ->type_name("NAME")
        ->default_str("by the template");
    verb.add_flag("--random-weights", flags.random_weights, "Random values in the shapes of the config");
    verb.add_flag("--verify", flags.verify, "Compare the files with their SHA-256 before they are used");
    verb.add_flag("--strict", flags.strict, "An op without a fast row, or an unknown request field, is an error");
    verb.add_option("--config", flags.config, "Flags from a YAML file")->type_name("FILE");
    verb.add_flag("--print-config", flags.print_config, "Show each value with its origin, and end");
}

Result<bool> default_to_demo(ModelFlags& flags) {
    if (!flags.model.empty()) return false;
    if (!checkpoint::demo_model())
        return error(ErrorCode::usage,
                     "MODEL is required: a folder, or org/name (this program was built without the demo model)");
    flags.model = checkpoint::kDemoModel;
    return true;
}

}  // namespace nibble::cli
