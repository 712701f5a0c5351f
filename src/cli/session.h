// Session: what serve, run and bench share: a folder's model loaded on a device, with an engine, its tokenizer,
// template and defaults. The memory plan is made from headers before a byte of weights is read.
//
// Opened by one thread; afterwards what served_model() gives is for any thread. The engine stops with the session.
#pragma once

#include "base/result.h"
#include "base/thread_pool.h"
#include "checkpoint/checkpoint.h"
#include "cli/memory_plan.h"
#include "cli/model_flags.h"
#include "device/device.h"
#include "engine/engine.h"
#include "engine/step.h"
#include "model/model.h"
#include "ops/program.h"
#include "server/served_model.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace nibble::cli {

struct SessionOptions {
    uint64_t default_sequences = 64;
    int64_t max_queue = 0;                  // 0: four times the sequences that run
    std::vector<std::string> served_names;  // none: by the model argument
    bool text = true;                       // bench needs no tokenizer
    bool draft = false;                     // with the model's draft block; unsupported when it has none
    bool measure_bandwidth = false;         // about 0.2 s, before the engine has the threads
    // From the opening thread: "reading", bytes of bytes. Called often; the plan is made before the first call.
    std::function<void(std::string_view stage, int64_t bytes, int64_t total_bytes)> progress;
    // Once, when the plan stands and before weights are read.
    std::function<void(const Plan&)> planned;
    // Remarks on flags and files that are no errors, one line each.
    std::function<void(const std::string&)> remark;
};

class Session {
public:
    // Errors: not_found, model_invalid, unsupported, does_not_fit, device_unusable, usage, io.
    static Result<std::unique_ptr<Session>> open(const ModelFlags& flags, const SessionOptions& options);
    ~Session();

    const device::Device& device() const { return device_; }
    const checkpoint::Checkpoint& checkpoint() const { return *checkpoint_; }
    const model::Model& model() const { return *model_; }
    const Plan& plan() const { return plan_; }
    engine::Engine& engine() { return *engine_; }
    // For a profile while the engine is idle.
    engine::ModelExecutor& executor() { return *executor_; }
    const server::ServedModel& served_model() const { return served_; }
    ThreadPool& threads() { return *threads_; }

    // Reading and packing the weights.
    double read_seconds() const { return read_seconds_; }
    int64_t bytes_read() const { return bytes_read_; }
    // Memory that one decoded token reads and writes at a context, alone.
    int64_t bytes_per_token(int64_t context) const;
    // Bytes per second that the device's memory gives to a reader; 0: not measured.
    double bandwidth() const { return bandwidth_; }
    // Tokens per second of one sequence with hardly any context, were memory all that takes time; 0: not measured. A
    // token without any would find no recurrent state to read.
    double ceiling() const { return bandwidth_ / static_cast<double>(bytes_per_token(1)); }

private:
    Session() = default;

    std::unique_ptr<ThreadPool> threads_;
    device::Device device_;
    std::shared_ptr<const checkpoint::Checkpoint> checkpoint_;
    Plan plan_;
    std::unique_ptr<engine::Engine> engine_;
    engine::ModelExecutor* executor_ = nullptr;  // the engine owns it
    const model::Model* model_ = nullptr;        // the executor owns it
    server::ServedModel served_;
    double read_seconds_ = 0;
    int64_t bytes_read_ = 0;
    double bandwidth_ = 0;
};

}  // namespace nibble::cli
