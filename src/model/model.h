// Model: the one interface of every family. A model owns its weights on one device; forward() reads them and writes a
// State and logits. Immutable after load: one engine thread at a time may run forward with its own context.
#pragma once

#include "base/result.h"
#include "base/thread_pool.h"
#include "checkpoint/checkpoint.h"
#include "model/batch.h"
#include "model/state.h"
#include "ops/op.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace nibble::model {

struct Spec {
    std::string family;      // "nemotron_h", "llama"
    std::string name;        // folder or org/name
    int64_t vocab_size = 0;  // rows of the head: ids a step may produce
    int64_t hidden_size = 0;
    int64_t layers = 0;
    int64_t max_context = 0;  // max_position_embeddings, or less where positions beyond need other frequencies
    device::DType activation = device::DType::bf16;  // of what projections read; a step's OpContext has the same
    StateShape state;
    std::vector<int32_t> eos_ids;  // generation_config.json, else config.json
    int64_t weight_bytes = 0;      // as packed on the device
    int64_t tensor_count = 0;      // in the checkpoint
    bool drafts = false;           // forward_draft may be called: LoadOptions::draft
};

class Model {
public:
    virtual ~Model() = default;
    const Spec& spec() const { return spec_; }

    // logits: [R, vocab_size] f32, R = batch.logit_rows.dim(0). hidden: [T, hidden_size] of the step's activation, or
    // empty: what the head reads, of every row. Writes state's pages and slots named by the batch.
    virtual void forward(ops::OpContext&, const Batch&, const State&, device::Tensor logits,
                         device::Tensor hidden) const = 0;
    void forward(ops::OpContext& context, const Batch& batch, const State& state, device::Tensor logits) const {
        forward(context, batch, state, logits, {});
    }

    // The draft block (multi-token prediction), behind a forward of the same rows: batch as there, but tokens[t] is the
    // token that follows the one at positions[t], and hidden is what forward gave. logits: of the token after that one.
    // Writes the pages of the block's own caches. next_hidden: [T, hidden_size], or empty: in place of hidden for the
    // draft after this one. Only where spec().drafts.
    virtual void forward_draft(ops::OpContext&, const Batch&, const State&, device::Tensor hidden,
                               device::Tensor logits, device::Tensor next_hidden) const;

protected:
    Spec spec_;
};

struct LoadProgress {
    int64_t bytes_read = 0, bytes_total = 0;
    std::string_view stage;  // "reading" (and packing) a checkpoint, "filling" with random codes
};

struct LoadOptions {
    enum class Source { checkpoint, headers, random } source = Source::checkpoint;
    // headers: weights have no memory (recording). random: every matrix filled with random codes of the format that the
    // checkpoint (or the config's quantisation claim) gives it, scaled so that activations stay finite and routing
    // spread.
    uint64_t random_seed = 1;
    // random, and the headers of what is to be random: layers share storage beyond this many bytes; 0: never.
    int64_t random_memory_bytes = 0;
    device::DType activation = device::DType::bf16;
    device::DType kv_dtype = device::DType::bf16;
    bool draft = false;             // with the draft block; otherwise its tensors are known and not loaded
    ThreadPool* threads = nullptr;  // reading and packing; null: one thread
    std::function<void(const LoadProgress&)> progress;  // called from the loading thread, at most 20 times a second
};

// Chooses the family by config.json's model_type / architectures. Errors: unsupported (naming both; a draft block that
// the model does not have), model_invalid, does_not_fit, io.
Result<std::unique_ptr<Model>> load(std::shared_ptr<const checkpoint::Checkpoint> checkpoint,
                                    const device::Device& device, const LoadOptions& options);
std::vector<std::string> families();

// The Program of one step: B sequences, each with `rows` new tokens after `context` old ones, one logit row each.
ops::Program record(const Model& model, const device::Device& device, int64_t sequences, int64_t rows, int64_t context,
                    const ops::RoutingModel* routing = nullptr);

}  // namespace nibble::model
