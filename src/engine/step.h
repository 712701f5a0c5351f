// ModelExecutor: the executor of a real model. Builds a model::Batch from a step plan (page numbers end here), runs
// forward, and samples.
//
// Everything that a step needs is allocated at construction, sized by recording the largest steps; a step allocates no
// device memory. Called from the engine thread only, which is also the one that runs the thread pool.
#pragma once

#include "base/result.h"
#include "base/thread_pool.h"
#include "device/graph.h"
#include "engine/executor.h"
#include "engine/staging.h"
#include "engine/token_counts.h"
#include "model/model.h"
#include "ops/moe/expert_counts.h"
#include "ops/sample/sample.h"

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

namespace nibble::engine {

// From the caller's memory plan.
struct StepOptions {
    int64_t pages = 0;           // of keys and values; 0 where the model keeps none
    int64_t max_sequences = 64;  // running at once: rows of a step, and slots of recurrent state
    int64_t max_step_tokens = 512;
    int64_t max_logit_rows = 0;  // 0: max_sequences + 64; a prompt's log-probabilities come in chunks of what is left
    int64_t max_context = 0;     // 0: the model's, or what the pages hold if that is less
    bool nvfp4_activations = false;  // W4A4, emulated on the CPU, for who measures it
};

// What the executor allocates beside the weights.
struct StepMemory {
    int64_t state_bytes = 0;       // pages and slots
    int64_t activation_bytes = 0;  // of the largest step, with scratch
    int64_t logit_bytes = 0;
    int64_t staging_bytes = 0;  // what a step is given and gives back
    int64_t hidden_bytes = 0;   // between a step and its draft; 0 where the model does not draft
    int64_t total_bytes() const { return state_bytes + activation_bytes + logit_bytes + staging_bytes + hidden_bytes; }
};

class ModelExecutor final : public Executor {
public:
    // Touches no memory of the device; for the plan.
    static StepMemory measure(const model::Model& model, const device::Device& device, const StepOptions& options);
    // What a GPU's driver takes beside that for captured steps, when as many are kept as ever will be. operations: of a
    // recorded step. An estimate, for the driver does not tell.
    static int64_t graph_bytes(const model::Spec& spec, const StepOptions& options, int64_t operations);

    // `threads` (null: one thread) must outlive the executor. Errors: does_not_fit.
    static Result<std::unique_ptr<ModelExecutor>> create(std::unique_ptr<const model::Model> model,
                                                         const device::Device& device, ThreadPool* threads,
                                                         const StepOptions& options);

    ~ModelExecutor() override { device::destroy_stream(device_, stream_); }

    const ExecutorLimits& limits() const override { return limits_; }
    void run(const StepPlan& plan, std::span<RowResult> results) override;
    // The same step, each operation timed: what ran, in order, and of routed layers how many experts were read.
    // Allocates what that takes.
    ops::Program profile(const StepPlan& plan, std::span<RowResult> results);
    // From here on run() counts which experts the tokens of its steps chose. For who measures; called while the engine
    // is idle. Errors: does_not_fit.
    Result<void> count_experts();
    // So far; waits for the device. Empty: nothing is counted, or the model has no routed layer.
    ops::ExpertCounts::Lists expert_counts() const;
    // The same step without sampling: the logits of every token after which a prompt's token is known
    // (StepRow::prompt_logprobs), in order, [rows, V] on the host. For who measures the model itself.
    // observer: sees what matrices are multiplied with.
    void logits(const StepPlan& plan, std::span<float> into, ops::InputObserver* observer = nullptr);

    // What the draft block finds likeliest behind the step that has just run, for each row that sampled: the token
    // after following[row], which is the one after the row's last; -1 for the others. Fills the block's caches as well,
    // so it is called behind every step of a sequence, or behind none. Models that draft only.
    void draft(const StepPlan& plan, std::span<const TokenId> following, std::span<TokenId> drafted);

    const model::Model& model() const { return *model_; }
    const device::Device& device() const { return device_; }
    void force_rows(ops::ForcedRows rows) { forced_ = std::move(rows); }  // bench and tests

private:
    // A row of logits: what it belongs to, and what is wanted of it.
    struct LogitRow {
        size_t plan_row = 0;
        TokenId given = -1;  // -1: a token is drawn
    };
    ModelExecutor(std::unique_ptr<const model::Model> model, const device::Device& device, ThreadPool* threads,
                  const ExecutorLimits& limits, bool nvfp4_activations, model::State state, device::Buffer arena,
                  device::Buffer logits, device::Buffer hidden, Staging staging);

    void execute(ops::OpContext& context, const StepPlan& plan, std::span<RowResult> results);
    device::Graph& graph_of(const std::array<int64_t, 3>& shape, bool& first);
    model::Batch stage(const StepPlan& plan);
    void stage_pages(int64_t b, const StepRow& row);
    // Rows [begin, end) of the wanted ones, whose entries were staged together.
    struct SamplePart {
        int64_t begin = 0, end = 0, entries = 0;
    };
    device::Tensor hidden(int64_t tokens) const;  // of a step; empty where the model does not draft
    SamplePart stage_sampling(const StepPlan& plan, int64_t begin);
    void sample(ops::OpContext& context, const SamplePart& rows);
    int64_t stage_sample_row(const StepPlan& plan, int64_t r, int64_t entries);
    void hand_out(std::span<RowResult> results);
    ops::OpContext context(ops::Mode mode, ops::Program* program);

    const std::unique_ptr<const model::Model> model_;
    const device::Device device_;
    ThreadPool* const threads_;
    const ExecutorLimits limits_;
    const bool nvfp4_activations_;
    const model::State state_;
    device::Arena arena_;
    const device::Buffer logits_;  // [max_logit_rows, V] f32
    const device::Buffer hidden_;  // [max_step_tokens, H] of the activation, or nothing
    device::Stream stream_;
    // Decode steps by (sequences, rows of logits, bound of the context).
    struct StepGraph {
        device::Graph graph;  // empty: the shape was seen once
        uint64_t used = 0;    // the launch that was its last
    };
    std::map<std::array<int64_t, 3>, StepGraph> graphs_;
    uint64_t launches_ = 0;
    ops::ForcedRows forced_;
    std::optional<ops::ExpertCounts> expert_counts_;

    Staging staging_;
    Staged<int32_t> tokens_, positions_;     // [max_step_tokens]
    Staged<int32_t> following_;              // [max_step_tokens], or nothing where the model does not draft
    Staged<int32_t> row_start_;              // [max_step_rows + 1]
    Staged<int32_t> context_length_, slot_;  // [max_step_rows]
    Staged<int32_t> page_table_;             // [max_step_rows, pages_each_]
    Staged<int32_t> logit_rows_;             // [max_logit_rows], as all that follow but the entries
    Staged<ops::SampleRow> sample_rows_;
    Staged<ops::SampleEntry> entries_;
    Staged<int32_t> drawn_, rank_, top_token_;  // top: [max_logit_rows, kMaxTop]
    Staged<float> logprob_, top_logprob_;
    int64_t pages_each_ = 0;

    std::vector<LogitRow> wanted_;     // of this step
    std::vector<TokenCounts> counts_;  // by slot
};

}  // namespace nibble::engine
