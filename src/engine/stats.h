// Stats: a snapshot of the engine for /metrics, the log and bench. Counters only grow.
#pragma once

#include <array>
#include <cstdint>

namespace nibble::engine {

// A latency histogram with fixed upper bounds in milliseconds.
struct Histogram {
    static constexpr std::array<double, 16> kBounds_ms = {1,   2,   5,   10,  20,   50,   100,  200,
                                                          500, 1e3, 2e3, 5e3, 10e3, 30e3, 60e3, 120e3};
    std::array<uint64_t, 17> counts{};  // the last: above all bounds
    double sum_ms = 0;
    uint64_t total = 0;
    void add(double ms);
};

struct Stats {
    int64_t running = 0, waiting = 0;
    int64_t pages_total = 0, pages_used = 0, slots_total = 0, slots_used = 0;
    uint64_t steps = 0, prompt_tokens = 0, generated_tokens = 0, preemptions = 0;
    uint64_t recomputed_tokens = 0;  // computed before a preemption and lost by it
    uint64_t finished_stop = 0, finished_length = 0, finished_cancelled = 0, finished_error = 0;
    uint64_t unread = 0;       // of the cancelled: the reader was too far behind
    uint64_t rejected = 0;     // at submit, for whatever reason
    double step_age_ms = 0;    // since the last step ended (0 when idle)
    double step_ms_total = 0;  // time in executor steps
    // From submit to the first token; between tokens; from submit to the end; from submit to running; from there to the
    // first token.
    Histogram time_to_first_token, inter_token, end_to_end, queue, prefill;
};

}  // namespace nibble::engine
