// StepLoop: the engine's heart, without its thread: owns the sequences, has the scheduler plan a step, the executor run
// it, and hands out what came of it. One thread; the simulator drives it with a clock of its own.
#pragma once

#include "engine/admission.h"
#include "engine/engine.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"
#include "engine/stats.h"

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

namespace nibble::engine {

class Clock {
public:
    virtual ~Clock() = default;
    virtual TimePoint now() const { return std::chrono::steady_clock::now(); }
};

// `wanted` with every limit lowered to what the executor can hold.
EngineOptions options_in_effect(const EngineOptions& wanted, const ExecutorLimits& limits);
AdmissionLimits admission_limits(const EngineOptions& in_effect, const ExecutorLimits& limits);

class StepLoop {
public:
    // Both must outlive the loop. `options` are in effect.
    StepLoop(Executor& executor, const EngineOptions& options, const Clock& clock);

    // The request has passed admit(); numbers grow with each call.
    void add(int64_t number, Request request, std::shared_ptr<EventQueue> events, TimePoint arrival);
    void cancel(int64_t number);  // nothing when it has ended already
    void step();                  // one plan; there must be a sequence
    void end_all(FinishReason reason);
    void end_unstarted(FinishReason reason);

    bool idle() const { return sequences_.empty(); }
    int64_t sequences() const { return static_cast<int64_t>(sequences_.size()); }
    int64_t waiting_first() const { return waiting_first_; }  // waiting and never started
    const Stats& stats() const { return stats_; }             // step_age_ms excepted
    const Scheduler& scheduler() const { return scheduler_; }

private:
    void commit(Sequence& sequence, const StepRow& row, RowResult& result);
    void end(Sequence& sequence, TokenEvent&& event);
    TokenEvent event_for(const Sequence& sequence) const;
    void refresh_gauges();

    Executor& executor_;
    const Clock& clock_;
    Scheduler scheduler_;
    std::unordered_map<int64_t, std::unique_ptr<Sequence>> sequences_;
    int64_t waiting_first_ = 0;
    std::vector<RowResult> results_;
    TimePoint now_{};  // of the end of the step
    Stats stats_;
};

}  // namespace nibble::engine
