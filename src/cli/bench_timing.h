// Timing of generations: when the tokens of streams came, and the figures that follow. Pure.
#pragma once

#include "base/result.h"

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace nibble::cli {

using BenchClock = std::chrono::steady_clock;

// One generation.
struct StreamTimes {
    BenchClock::time_point start;                  // when it was asked for
    std::vector<BenchClock::time_point> arrivals;  // of tokens; of pieces of text where a server gives no more
    int64_t prompt_tokens = 0, output_tokens = 0;
    int64_t cached_tokens = 0;
    bool by_id = true;  // tokens were counted by id; else by the server's usage, or (no_usage) by pieces
    bool no_usage = false;
};

// One round: some generations, at most `concurrency` of them at a time.
struct Round {
    double decode_tokens_per_second = 0;   // together, from the moment when the first `concurrency` have begun
    double prefill_tokens_per_second = 0;  // prompt tokens until then
    double tokens_per_second = 0;          // generated, from the first request to the last token
    std::vector<double> first_token_ms, between_ms, end_to_end_ms;
    int64_t prompt_tokens = 0, output_tokens = 0, cached_tokens = 0;
    bool by_id = true, no_usage = false;
};

// Errors: peer_failed when a stream has no token.
Result<Round> summarise(std::span<const StreamTimes> streams, int64_t concurrency);

// By linear interpolation; 0 of nothing. q in [0, 1].
double quantile(std::vector<double> values, double q);

}  // namespace nibble::cli
