// Executor: runs one step plan and samples. The real one builds a model::Batch and calls forward (engine/step.h); tests
// and the simulator use a stub with a fake model, so the whole policy runs without weights or a device.
//
// The plan speaks of pages and slots by number. Called from the engine thread only.
#pragma once

#include "engine/request.h"

#include <cstdint>
#include <span>
#include <vector>

namespace nibble::engine {

// One sequence's part of a step.
struct StepRow {
    int64_t sequence = 0;             // the engine's number for it, never reused
    std::span<const TokenId> tokens;  // new in this step
    int64_t position = 0;             // of tokens[0]
    std::span<const int32_t> pages;   // covering positions [0, position + tokens.size())
    int32_t slot = 0;                 // recurrent state; one a running sequence whether the model keeps any or not
    bool sample = false;              // the last token's logits are wanted: a token is to be drawn
    bool prompt_logprobs = false;     // and those of every token of the row
    const SamplingParams* sampling = nullptr;
    std::span<const TokenId> prompt, output;  // so far (the prompt whole; the output up to the token to be drawn)
    TokenId next_prompt_token = -1;           // the prompt's token after this row's last, for prompt_logprobs; -1: none
};

struct StepPlan {
    std::vector<StepRow> rows;
    int64_t tokens = 0;      // of all rows
    int64_t logit_rows = 0;  // of all rows
};

// What came of a row: a token when it sampled, logprobs when asked for.
struct RowResult {
    TokenId token = -1;
    bool numerical_error = false;
    std::optional<TokenLogprob> logprob;
    std::vector<TokenLogprob> top;
    // Of the prompt's token after each of the row's tokens, in order; one less when next_prompt_token is -1.
    std::vector<TokenEvent::PromptLogprob> prompt_logprobs;
};

// What the executor can hold; the engine's page and slot tables are made from it.
struct ExecutorLimits {
    int64_t pages = 0, page_size = 0;  // pages 0: the model keeps no keys and values
    int64_t slots = 0;                 // recurrent state; at least the sequences that may run at once
    int64_t vocab_size = 0;
    int64_t max_context = 0;                         // of the model
    int64_t max_step_tokens = 0, max_step_rows = 0;  // that its buffers hold
    int64_t max_logit_rows = 0;  // tokens of a step whose logits are wanted (every token of a row with
                                 // prompt_logprobs, else the last of one that samples); more than max_step_rows
};

class Executor {
public:
    virtual ~Executor() = default;
    virtual const ExecutorLimits& limits() const = 0;
    virtual void run(const StepPlan& plan, std::span<RowResult> results) = 0;  // one default-made result a row
};

}  // namespace nibble::engine
