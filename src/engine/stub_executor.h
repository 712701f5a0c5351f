// StubExecutor: an executor with a fake model, for tests of the engine and the server and for measuring what surrounds
// a model. The next token is a hash of the sequence's tokens (of the seed too when not greedy), so it depends on
// nothing but the request, and reference_output() says what must come out.
//
// The fake model keeps its state where a real one would: a running hash in the slot and every token in its page. A slot
// used by two sequences, a skipped or repeated token, or (with check_pages) a page that two sequences write fails a
// CHECK.
#pragma once

#include "engine/executor.h"

#include <chrono>
#include <functional>
#include <optional>
#include <vector>

namespace nibble::engine {

struct StubOptions {
    ExecutorLimits limits{.pages = 4096,
                          .page_size = 16,
                          .slots = 64,
                          .vocab_size = 256,
                          .max_context = 65536,
                          .max_step_tokens = 512,
                          .max_step_rows = 64,
                          .max_logit_rows = 128};
    bool check_pages = false;                 // read a sequence's pages back in every step: slower
    std::chrono::microseconds step_delay{0};  // slept in every step
    // A token to be given out instead of the hash, for the row that samples. Called on the engine thread.
    std::function<std::optional<TokenId>(const StepRow&)> script = {};
    std::function<bool(const StepRow&)> numerical_error = {};
};

class StubExecutor final : public Executor {
public:
    explicit StubExecutor(const StubOptions& options = {});

    const ExecutorLimits& limits() const override { return options_.limits; }
    void run(const StepPlan& plan, std::span<RowResult> results) override;

    // A script: the same tokens for every request, and then `end` again and again.
    static std::function<std::optional<TokenId>(const StepRow&)> reply(std::vector<TokenId> tokens, TokenId end);

    // What the engine gives for this request without a script: every token up to and with a stop id.
    static std::vector<TokenId> reference_output(std::span<const TokenId> prompt, const SamplingParams& sampling,
                                                 int64_t vocab_size);
    // And its prompt_logprobs, from the second token on.
    static std::vector<TokenEvent::PromptLogprob> reference_prompt_logprobs(std::span<const TokenId> prompt, int top,
                                                                            int64_t vocab_size);

private:
    struct Slot {
        int64_t sequence = -1, tokens = 0;
        uint64_t hash = 0;
    };
    void run_row(const StepRow& row, RowResult& result);
    TokenId* page_token(const StepRow& row, int64_t position);

    const StubOptions options_;
    std::vector<Slot> slots_;
    std::vector<TokenId> page_tokens_;  // [pages, page_size]
};

}  // namespace nibble::engine
