#include "engine/stub_executor.h"

#include "base/check.h"

#include <algorithm>
#include <thread>
#include <utility>

namespace nibble::engine {
namespace {

constexpr uint64_t kEmpty = 0x9E3779B97F4A7C15ull;

// The finaliser of SplitMix64.
constexpr uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}

constexpr uint64_t extend(uint64_t hash, TokenId token) {
    return mix(hash * 31 + static_cast<uint64_t>(token) + 1);
}

// Candidates in the fake model's order: the token drawn is the first that may be.
TokenId candidate(uint64_t hash, int64_t place, int64_t vocab_size) {
    return static_cast<TokenId>((hash % static_cast<uint64_t>(vocab_size) + static_cast<uint64_t>(place)) %
                                static_cast<uint64_t>(vocab_size));
}

TokenId draw(uint64_t hash, const SamplingParams& sampling, int64_t output_tokens, int64_t vocab_size) {
    if (sampling.temperature > 0) hash = mix(hash ^ sampling.seed);
    const bool masks = output_tokens < sampling.min_tokens && !sampling.ignore_eos;
    for (int64_t place = 0; place < vocab_size; ++place) {
        const TokenId token = candidate(hash, place, vocab_size);
        if (!masks || std::find(sampling.stop_ids.begin(), sampling.stop_ids.end(), token) == sampling.stop_ids.end())
            return token;
    }
    return 0;
}

// The place of a token among the candidates, and a made-up log-probability falling with it.
TokenLogprob logprob_of(uint64_t hash, TokenId token, int64_t vocab_size) {
    const int64_t first = candidate(hash, 0, vocab_size);
    const int64_t place = (token - first + vocab_size) % vocab_size;
    return {.token = token, .logprob = -0.5f * static_cast<float>(place + 1), .rank = static_cast<int>(place + 1)};
}

std::vector<TokenLogprob> top_of(uint64_t hash, int count, int64_t vocab_size) {
    std::vector<TokenLogprob> top;
    for (int64_t place = 0; place < std::min<int64_t>(count, vocab_size); ++place)
        top.push_back(logprob_of(hash, candidate(hash, place, vocab_size), vocab_size));
    return top;
}

}  // namespace

StubExecutor::StubExecutor(const StubOptions& options) : options_(options) {
    slots_.resize(static_cast<size_t>(options.limits.slots));
    page_tokens_.assign(static_cast<size_t>(options.limits.pages * options.limits.page_size), -1);
}

std::function<std::optional<TokenId>(const StepRow&)> StubExecutor::reply(std::vector<TokenId> tokens, TokenId end) {
    return [tokens = std::move(tokens), end](const StepRow& row) -> std::optional<TokenId> {
        return row.output.size() < tokens.size() ? tokens[row.output.size()] : end;
    };
}

std::vector<TokenId> StubExecutor::reference_output(std::span<const TokenId> prompt, const SamplingParams& sampling,
                                                    int64_t vocab_size) {
    uint64_t hash = kEmpty;
    for (TokenId token : prompt) hash = extend(hash, token);
    std::vector<TokenId> output;
    while (static_cast<int64_t>(output.size()) < sampling.max_tokens) {
        const int64_t tokens = static_cast<int64_t>(output.size());
        output.push_back(draw(hash, sampling, tokens, vocab_size));
        hash = extend(hash, output.back());
        const bool stop =
            std::find(sampling.stop_ids.begin(), sampling.stop_ids.end(), output.back()) != sampling.stop_ids.end();
        if (stop && !sampling.ignore_eos && tokens >= sampling.min_tokens) break;
    }
    return output;
}

std::vector<TokenEvent::PromptLogprob> StubExecutor::reference_prompt_logprobs(std::span<const TokenId> prompt, int top,
                                                                               int64_t vocab_size) {
    uint64_t hash = kEmpty;
    std::vector<TokenEvent::PromptLogprob> logprobs;
    for (size_t i = 0; i + 1 < prompt.size(); ++i) {
        hash = extend(hash, prompt[i]);
        logprobs.push_back(
            {.chosen = logprob_of(hash, prompt[i + 1], vocab_size), .top = top_of(hash, top, vocab_size)});
    }
    return logprobs;
}

TokenId* StubExecutor::page_token(const StepRow& row, int64_t position) {
    const int64_t page_size = options_.limits.page_size, place = position / page_size;
    CHECK(place < static_cast<int64_t>(row.pages.size()), "sequence {} has {} pages, position {} is beyond",
          row.sequence, row.pages.size(), position);
    const int32_t page = row.pages[static_cast<size_t>(place)];
    CHECK(page >= 0 && page < options_.limits.pages, "page {} of {}", page, options_.limits.pages);
    return &page_tokens_[static_cast<size_t>(page * page_size + position % page_size)];
}

void StubExecutor::run(const StepPlan& plan, std::span<RowResult> results) {
    const ExecutorLimits& limits = options_.limits;
    CHECK(results.size() == plan.rows.size() && !plan.rows.empty());
    CHECK(static_cast<int64_t>(plan.rows.size()) <= limits.max_step_rows, "{} rows", plan.rows.size());
    CHECK(limits.max_logit_rows == 0 || plan.logit_rows <= limits.max_logit_rows, "{} rows of logits", plan.logit_rows);
    int64_t tokens = 0;
    for (const StepRow& row : plan.rows) tokens += static_cast<int64_t>(row.tokens.size());
    CHECK(tokens == plan.tokens && tokens <= limits.max_step_tokens, "{} tokens", tokens);
    if (options_.step_delay.count() > 0) std::this_thread::sleep_for(options_.step_delay);
    for (size_t i = 0; i < plan.rows.size(); ++i) run_row(plan.rows[i], results[i]);
}

void StubExecutor::run_row(const StepRow& row, RowResult& result) {
    const int64_t vocab_size = options_.limits.vocab_size;
    CHECK(row.slot >= 0 && row.slot < options_.limits.slots, "slot {} of {}", row.slot, options_.limits.slots);
    CHECK(!row.tokens.empty());
    Slot& slot = slots_[static_cast<size_t>(row.slot)];
    if (row.position == 0) slot = {.sequence = row.sequence, .tokens = 0, .hash = kEmpty};
    CHECK(slot.sequence == row.sequence && slot.tokens == row.position,
          "sequence {} goes on at {} and its slot {} is at {} of sequence {}", row.sequence, row.position, row.slot,
          slot.tokens, slot.sequence);
    const bool pages = options_.limits.pages > 0;
    for (size_t i = 0; i < row.tokens.size(); ++i) {
        const TokenId token = row.tokens[i];
        CHECK(token >= 0 && token < vocab_size, "token {} of a vocabulary of {}", token, vocab_size);
        if (pages) *page_token(row, slot.tokens) = token;
        slot.hash = extend(slot.hash, token);
        ++slot.tokens;
        const TokenId next = i + 1 < row.tokens.size() ? row.tokens[i + 1] : row.next_prompt_token;
        if (row.prompt_logprobs && next >= 0)
            result.prompt_logprobs.push_back({.chosen = logprob_of(slot.hash, next, vocab_size),
                                              .top = top_of(slot.hash, row.sampling->prompt_logprobs, vocab_size)});
    }
    if (pages && options_.check_pages) {
        uint64_t hash = kEmpty;
        for (int64_t p = 0; p < slot.tokens; ++p) hash = extend(hash, *page_token(row, p));
        CHECK(hash == slot.hash, "a page of sequence {} was written by another", row.sequence);
    }
    if (options_.numerical_error && options_.numerical_error(row)) {
        result.numerical_error = true;
        return;
    }
    if (!row.sample) return;
    const SamplingParams& sampling = *row.sampling;
    std::optional<TokenId> scripted;
    if (options_.script) scripted = options_.script(row);
    result.token =
        scripted ? *scripted : draw(slot.hash, sampling, static_cast<int64_t>(row.output.size()), vocab_size);
    if (sampling.logprobs < 0) return;
    result.logprob = logprob_of(slot.hash, result.token, vocab_size);
    result.top = top_of(slot.hash, sampling.logprobs, vocab_size);
}

}  // namespace nibble::engine
