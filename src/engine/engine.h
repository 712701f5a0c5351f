// Engine: takes requests from any thread, runs them on its own thread in continuously batched steps, gives tokens back.
//
// submit() and cancel() may be called from any thread. A RequestStream belongs to the caller: next() waits, try_next()
// does not, and on_ready is called (from the engine thread, briefly) after each event is there; destroying it cancels,
// and waits for an on_ready in progress: none comes after (on_ready must not destroy its stream; it may submit,
// cancel). Exactly one event has a finish; nothing follows it. The engine never waits for a reader: what is not read is
// kept, a token in 16 bytes, up to kMaxUnread_bytes; a request whose reader is further behind is cancelled. The
// engine's progress, queue and memory are seen through stats() alone.
#pragma once

#include "base/result.h"
#include "engine/executor.h"
#include "engine/request.h"
#include "engine/stats.h"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace nibble::engine {

inline constexpr int64_t kMaxUnread_bytes = 1 << 20;  // of a request's events (its prompt_logprobs not counted)

// What the executor cannot hold is lowered to what it can.
struct EngineOptions {
    int64_t max_context = 0;        // tokens of one sequence, prompt and output; 0: what the executor can hold
    int64_t max_sequences = 64;     // running at once
    int64_t max_queue = 256;        // waiting beyond those that could run; then submit answers `overloaded`
    int64_t max_step_tokens = 512;  // rows of one step: chunk size of a prefill shared with decodes
};

class RequestStream {
public:
    virtual ~RequestStream() = default;  // cancels what is not finished
    // Nothing: the time is over, or the event with the finish was taken before.
    virtual std::optional<TokenEvent> next(std::chrono::milliseconds timeout) = 0;
    virtual std::optional<TokenEvent> try_next() = 0;
    virtual void cancel() = 0;
};

class Engine {
public:
    Engine(std::unique_ptr<Executor> executor, const EngineOptions& options);
    ~Engine();  // stops after the step in work; unfinished streams end with `shutdown` and may outlive the engine
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    // Errors: invalid_request (param names the field: a prompt longer than the context with both numbers, an id outside
    // the vocabulary, a sampling value outside its range), does_not_fit (prompt and max_tokens need more pages than
    // there are, with both numbers), overloaded, unavailable while draining.
    Result<std::unique_ptr<RequestStream>> submit(Request request, std::function<void()> on_ready = {});

    void drain();                                         // no new requests; accepted ones finish. Does not wait
    void shed_waiting();                                  // ends what was never started, as `shed`. Does not wait
    bool idle() const;                                    // nothing running or waiting
    bool stalled(std::chrono::milliseconds limit) const;  // work waits and no step was made for so long
    Stats stats() const;
    const EngineOptions& options() const;  // in effect
    int64_t vocab_size() const;

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace nibble::engine
