// BenchLocal: generations in this process, through the engine that serve uses, and the profile of its steps.
#pragma once

#include "base/result.h"
#include "cli/bench_timing.h"
#include "cli/session.h"
#include "ops/moe/expert_counts.h"
#include "ops/program.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace nibble::cli {

// Ids of request number `request`: the same for a seed, other ones for every request.
std::vector<int32_t> random_prompt(int64_t tokens, int64_t vocab, uint64_t seed, uint64_t request);

// One greedy generation a prompt, all at once, each of max_tokens tokens whatever the end token says.
// Errors: as Engine::submit; internal: a logit that is no number.
Result<std::vector<StreamTimes>> run_local(Session& session, std::span<const std::vector<int32_t>> prompts,
                                           int64_t max_tokens);

// Bytes per second that memory gives at this moment. Other machines on the same host share a processor's memory, so it
// is asked around every round; a GPU's memory is its own, and is probed once. Waits until the engine is idle.
double probe_bandwidth(Session& session);

// How often each expert was chosen since ModelExecutor::count_experts(). Waits until the engine is idle.
ops::ExpertCounts::Lists counted_experts(Session& session);

// A decode step of `concurrency` sequences, each operation timed: the fastest of several, with the experts that
// were really read. Waits until the engine is idle. Errors: internal: an operation ran by another row than the one that
// is recorded for it, which is what audit and the ceiling are made from.
Result<ops::Program> profile_decode(Session& session, int64_t concurrency, int64_t prompt_tokens, uint64_t seed);

// Mean over the routed layers; 0: there are none.
double mean_distinct_experts(const ops::Program& program);

// The steps of a program by op, format and row, those that take longest first.
struct ProfileLine {
    std::string what, row;
    int64_t count = 0, bytes = 0;
    double microseconds = 0;
};
std::vector<ProfileLine> summed(const ops::Program& program);
// The first operation whose row differs from what `recorded` says, in a sentence; empty: none. Sampling follows the
// recorded forward.
std::string find_other_row(const ops::Program& ran, const ops::Program& recorded);

}  // namespace nibble::cli
