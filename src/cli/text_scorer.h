// TextScorer: a model that is only asked what it expects next: windows of a text in, rows of logits out. It has no
// engine: one thread runs the steps, through the executor that an engine would use.
#pragma once

#include "base/result.h"
#include "base/thread_pool.h"
#include "cli/model_flags.h"
#include "engine/step.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace nibble::cli {

class TextScorer {
public:
    static constexpr int64_t kStepTokens = 256;

    enum class Activations : uint8_t { as_they_are, nvfp4 };  // nvfp4: W4A4, emulated (ops/nvfp4_activations.h)

    // Sequences of up to `window` tokens. `threads` must outlive the scorer. Errors: as Session::open; for nvfp4 also
    // unsupported where it cannot be emulated (a GPU, routed experts), usage where no matrix has an input scale.
    static Result<std::unique_ptr<TextScorer>> open(
        const ModelFlags& flags, int64_t window, ThreadPool& threads, Activations activations,
        const std::function<void(std::string_view stage, int64_t bytes, int64_t total_bytes)>& progress);

    // Tokens [begin, begin + count) of a window, count <= kStepTokens: for each but the window's last the logits of
    // what follows it, [rows, V]. A window's steps come in order, from 0 on.
    int64_t rows(std::span<const text::TokenId> window, int64_t begin, int64_t count) const;
    void logits(std::span<const text::TokenId> window, int64_t begin, int64_t count, std::span<float> into,
                ops::InputObserver* observer = nullptr);

    const text::Tokenizer& tokenizer() const { return *tokenizer_; }
    int64_t vocab_size() const { return executor_->limits().vocab_size; }
    int64_t max_context() const { return executor_->limits().max_context; }
    const std::string& name() const { return name_; }

private:
    TextScorer() = default;

    std::string name_;
    std::shared_ptr<const text::Tokenizer> tokenizer_;
    std::unique_ptr<engine::ModelExecutor> executor_;
    std::vector<int32_t> pages_;
};

}  // namespace nibble::cli
