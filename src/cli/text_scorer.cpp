#include "cli/text_scorer.h"

#include "checkpoint/linear_modules.h"
#include "cli/model_outline.h"

#include <algorithm>
#include <numeric>

namespace nibble::cli {
namespace {

// Half of W4A4 would be no figure at all.
Result<void> refuse_w4a4(const ModelOutline& outline) {
    if (!outline.device.is_cpu())
        return error(ErrorCode::unsupported, "--w4a4 is emulated on the CPU alone: --device cpu");
    for (const ops::ProgramStep& step : outline.decode.steps)
        if (step.op == "moe")
            return error(ErrorCode::unsupported, "--w4a4: the inputs of routed experts are not emulated ({})",
                         step.module);
    TRY(const auto modules, checkpoint::find_linear_modules(*outline.checkpoint));
    for (const checkpoint::LinearModule& module : modules)
        if (module.format == checkpoint::MatrixFormat::nvfp4 &&
            module.claim.format != checkpoint::ClaimedFormat::nvfp4_w4a16 &&
            (module.tensors.input_scale != nullptr || module.tensors.input_global_scale != nullptr))
            return {};
    return error(ErrorCode::usage,
                 "--w4a4: no NVFP4 matrix has an input_scale; nibble quantize --calibrate writes them");
}

}  // namespace

Result<std::unique_ptr<TextScorer>> TextScorer::open(
    const ModelFlags& flags, int64_t window, ThreadPool& threads, Activations activations,
    const std::function<void(std::string_view, int64_t, int64_t)>& progress) {
    std::unique_ptr<TextScorer> scorer(new TextScorer);
    TRY(ModelOutline outline, outline_model(flags, {.threads = &threads}));
    const model::Spec& spec = outline.model->spec();
    if (window > spec.max_context)
        return error(ErrorCode::usage, "a window of {} tokens; the model's context is {}", window, spec.max_context);
    if (activations == Activations::nvfp4) TRY_VOID(refuse_w4a4(outline));
    scorer->name_ = flags.model;
    TRY(scorer->tokenizer_, text::Tokenizer::load(outline.folder));

    const int64_t page = std::max<int64_t>(spec.state.page_size, 1);
    const engine::StepOptions options{.pages = (window + page - 1) / page,
                                      .max_sequences = 1,
                                      .max_step_tokens = kStepTokens,
                                      .max_logit_rows = kStepTokens,
                                      .max_context = window,
                                      .nvfp4_activations = activations == Activations::nvfp4};
    model::LoadOptions load = outline.load;
    load.source = flags.random_weights ? model::LoadOptions::Source::random : model::LoadOptions::Source::checkpoint;
    load.progress = [&](const model::LoadProgress& at) { progress(at.stage, at.bytes_read, at.bytes_total); };
    TRY(std::unique_ptr<const model::Model> model, model::load(outline.checkpoint, outline.device, load));
    TRY(scorer->executor_, engine::ModelExecutor::create(std::move(model), outline.device, &threads, options));
    scorer->pages_.resize(static_cast<size_t>(options.pages));
    std::iota(scorer->pages_.begin(), scorer->pages_.end(), 0);
    return scorer;
}

int64_t TextScorer::rows(std::span<const text::TokenId> window, int64_t begin, int64_t count) const {
    return begin + count == static_cast<int64_t>(window.size()) ? count - 1 : count;
}

void TextScorer::logits(std::span<const text::TokenId> window, int64_t begin, int64_t count, std::span<float> into,
                        ops::InputObserver* observer) {
    const int64_t end = begin + count, page = executor_->limits().page_size;
    const engine::SamplingParams sampling;
    engine::StepPlan plan;
    plan.tokens = count;
    plan.logit_rows = rows(window, begin, count);
    plan.rows.push_back(
        {.tokens = window.subspan(static_cast<size_t>(begin), static_cast<size_t>(count)),
         .position = begin,
         .pages = std::span(pages_).first(page > 0 ? static_cast<size_t>((end + page - 1) / page) : pages_.size()),
         .prompt_logprobs = true,
         .sampling = &sampling,
         .prompt = window,
         .next_prompt_token =
             end < static_cast<int64_t>(window.size()) ? window[static_cast<size_t>(end)] : engine::TokenId{-1}});
    executor_->logits(plan, into, observer);
}

}  // namespace nibble::cli
