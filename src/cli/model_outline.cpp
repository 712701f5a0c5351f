#include "cli/model_outline.h"

#include "base/bytes.h"
#include "device/have_cuda.h"
#include "engine/step.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace nibble::cli {
namespace {

using device::DType;

// What the driver takes for a process before it allocates anything. A discrete GPU is read behind it.
constexpr uint64_t kCudaContext_bytes = uint64_t{640} << 20;

Result<DType> kv_dtype(const ModelFlags& flags) {
    const std::string& name = flags.kv_cache_dtype;
    if (name == "auto") return flags.activation == "f32" ? DType::f32 : DType::bf16;
    if (name == "float32" || name == "f32") return DType::f32;
    if (name == "bfloat16" || name == "bf16") return DType::bf16;
    if (name == "fp8" || name == "fp8_e4m3") return DType::f8_e4m3;
    return error(ErrorCode::usage, "--kv-cache-dtype: {} is unknown", name);
}

// For measuring: as many pages as the sequences could ever use.
engine::StepOptions step_options(const ModelFlags& flags, const device::Device& device, const model::Spec& spec,
                                 uint64_t sequences, uint64_t context) {
    const auto page_size = static_cast<uint64_t>(spec.state.page_size);
    return {.pages = static_cast<int64_t>((context + page_size - 1) / page_size * sequences),
            .max_sequences = static_cast<int64_t>(sequences),
            .max_step_tokens = step_tokens(flags, device),
            .max_context = static_cast<int64_t>(context)};
}

// Under --strict nothing runs by the reference row of an op where another was expected.
Result<void> refuse_slow_rows(const ops::Program& program) {
    std::set<std::string> slow;
    for (const ops::ProgramStep& step : program.steps)
        if (step.row == "ref") slow.insert(fmt::format("{} {} ({})", step.op, step.format, step.module));
    if (slow.empty()) return {};
    return error(ErrorCode::unsupported, "--strict: {} op(s) have only their reference row here: {}{}", slow.size(),
                 *slow.begin(), slow.size() > 1 ? ", …" : "");
}

// An op that no row of the device runs is refused before weights are read.
Result<void> refuse_missing_rows(const ops::Program& program, const device::Device& device) {
    for (const ops::ProgramStep& step : program.steps)
        if (step.row.empty())
            return error(ErrorCode::unsupported, "{}: no row of op {} for {} {} runs on {}", step.module, step.op,
                         step.format, step.shape, device.name);
    return {};
}

std::optional<uint64_t> unsigned_of(const std::optional<int64_t>& value) {
    return value ? std::optional<uint64_t>(static_cast<uint64_t>(*value)) : std::nullopt;
}

}  // namespace

Result<ModelOutline> outline_model(const ModelFlags& flags, const OutlineOptions& options) {
    if (flags.model.empty()) return error(ErrorCode::usage, "a model is required: a folder, or org/name");
    ModelOutline outline;
    TRY(outline.folder, checkpoint::find_model_folder(flags.model));
    if (options.known_devices) outline.described = find_known_device(flags.device);
    if (outline.described != nullptr) {
        outline.device = outline.described->device();
        outline.memory = {outline.device.memory_bytes, outline.device.memory_bytes};
    } else {
        TRY(outline.device, device::find_device(flags.device));
        TRY(outline.memory, device::read_memory(outline.device));
    }
    const device::Device& device = outline.device;
    // What a GPU shares with the host's page cache must not hold the checkpoint a second time.
    const bool shared = !device.is_cpu() && device.unified_memory;
    TRY(outline.checkpoint,
        checkpoint::Checkpoint::open(
            outline.folder, {.headers_only = options.headers_only || flags.random_weights,
                             .page_cache = shared ? checkpoint::PageCache::drop : checkpoint::PageCache::automatic}));
    outline.load = {.source = model::LoadOptions::Source::headers,
                    .activation = flags.activation == "f32" ? DType::f32 : DType::bf16,
                    .draft = options.draft,
                    .threads = options.threads};
    TRY(outline.load.kv_dtype, kv_dtype(flags));
    if (flags.random_weights)  // what does not fit is shared between layers: a token reads as many bytes all the same
        outline.load.random_memory_bytes = outline.memory.available_bytes / 5 * 3;
    TRY(outline.model, model::load(outline.checkpoint, device, outline.load));
    outline.decode = model::record(*outline.model, device, 1, 1, 0);
    // The rows of a described device may not be in this binary.
    if (outline.described == nullptr || device::kHaveCuda) TRY_VOID(refuse_missing_rows(outline.decode, device));
    if (flags.strict) TRY_VOID(refuse_slow_rows(outline.decode));
    return outline;
}

PlanInput plan_input(const ModelOutline& outline, const ModelFlags& flags, uint64_t default_sequences) {
    const model::Model* model = outline.model.get();
    const device::Device& device = outline.device;
    const model::Spec& spec = model->spec();
    const bool behind_context = device.is_cpu() || (outline.described == nullptr && !device.unified_memory);
    PlanInput input{.memory = outline.memory,
                    .host_memory = device.is_cpu() || device.unified_memory,
                    .device_name = device.name,
                    .weight_bytes = static_cast<uint64_t>(spec.weight_bytes),
                    .page_bytes = static_cast<uint64_t>(spec.state.page_bytes()),
                    .page_size = static_cast<uint64_t>(spec.state.page_size),
                    .slot_bytes = static_cast<uint64_t>(spec.state.slot_bytes()),
                    .model_context = static_cast<uint64_t>(spec.max_context),
                    .step_bytes =
                        [model, device, flags](uint64_t sequences, uint64_t context) {
                            const engine::StepMemory memory = engine::ModelExecutor::measure(
                                *model, device, step_options(flags, device, model->spec(), sequences, context));
                            return static_cast<uint64_t>(memory.total_bytes() - memory.state_bytes);
                        },
                    .graph_bytes = {},
                    .context_bytes = behind_context ? 0 : kCudaContext_bytes,
                    .budget_bytes = unsigned_of(flags.memory_budget_bytes),
                    .share_bytes = {},
                    .kv_bytes = unsigned_of(flags.kv_cache_bytes),
                    .context = unsigned_of(flags.max_model_len),
                    .sequences = unsigned_of(flags.max_num_seqs),
                    .default_sequences = default_sequences};
    if (!device.is_cpu())
        input.graph_bytes = [model, device, flags, operations = static_cast<int64_t>(outline.decode.steps.size())](
                                uint64_t sequences, uint64_t context) {
            return static_cast<uint64_t>(engine::ModelExecutor::graph_bytes(
                model->spec(), step_options(flags, device, model->spec(), sequences, context), operations));
        };
    if (flags.gpu_memory_utilization && !input.budget_bytes)
        input.share_bytes =
            static_cast<uint64_t>(*flags.gpu_memory_utilization * static_cast<double>(input.memory.total_bytes));
    return input;
}

}  // namespace nibble::cli
