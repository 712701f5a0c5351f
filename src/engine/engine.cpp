#include "engine/engine.h"

#include "base/check.h"
#include "engine/admission.h"
#include "engine/event_queue.h"
#include "engine/step_loop.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace nibble::engine {
namespace {

struct Submission {
    int64_t number;
    Request request;
    std::shared_ptr<EventQueue> events;
    TimePoint arrival;
};

// What other threads and the engine thread tell each other, under one lock that is never held during a step.
struct Exchange {
    std::mutex mutex;
    std::condition_variable wake;
    // To the engine thread.
    std::vector<Submission> submissions;
    std::vector<int64_t> cancels;
    bool stopping = false, draining = false, closed = false, shedding = false;
    int64_t last_number = 0;
    // From it, after each step.
    int64_t unfinished = 0;     // submitted and not ended
    int64_t waiting_first = 0;  // of those the loop has, never started
    int64_t started = 0;        // the others of those the loop has
    TimePoint progress{};       // the end of the last step, or when work came to an idle engine
    Stats stats;
    uint64_t rejected = 0;

    void cancel(int64_t number) {
        {
            const std::lock_guard lock(mutex);
            if (closed) return;
            cancels.push_back(number);
        }
        wake.notify_one();
    }
};

class Stream final : public RequestStream {
public:
    Stream(int64_t number, std::shared_ptr<EventQueue> events, std::shared_ptr<Exchange> exchange)
        : number_(number), events_(std::move(events)), exchange_(std::move(exchange)) {}
    ~Stream() override {
        events_->detach();
        cancel();
    }
    std::optional<TokenEvent> next(std::chrono::milliseconds timeout) override { return events_->pop(timeout); }
    std::optional<TokenEvent> try_next() override { return events_->try_pop(); }
    void cancel() override {
        if (cancelled_.exchange(true) || events_->ended()) return;
        exchange_->cancel(number_);
    }

private:
    const int64_t number_;
    const std::shared_ptr<EventQueue> events_;
    const std::shared_ptr<Exchange> exchange_;
    std::atomic<bool> cancelled_ = false;
};

}  // namespace

struct Engine::State {
    State(std::unique_ptr<Executor> executor_given, const EngineOptions& wanted)
        : executor(std::move(executor_given)),
          options(options_in_effect(wanted, executor->limits())),
          admission(admission_limits(options, executor->limits())),
          exchange(std::make_shared<Exchange>()),
          loop(*executor, options, clock) {
        exchange->stats = loop.stats();
    }

    const std::unique_ptr<Executor> executor;
    const EngineOptions options;
    const AdmissionLimits admission;
    const std::shared_ptr<Exchange> exchange;
    const Clock clock;
    StepLoop loop;  // the thread's alone once it runs
    std::thread thread;

    void run();
    bool take_messages();
    void publish();
};

// The engine thread: sleeps while there is nothing to do.
void Engine::State::run() {
    pthread_setname_np(pthread_self(), "nibble-engine");
    while (take_messages()) {
        if (!loop.idle()) loop.step();
        publish();
    }
    loop.end_all(FinishReason::shutdown);
    publish();
}

// Waits for something to do; false when stopping. What was submitted but not taken ends here as well.
bool Engine::State::take_messages() {
    std::vector<Submission> submissions;
    std::vector<int64_t> cancels;
    bool stopping = false, shedding = false;
    {
        std::unique_lock lock(exchange->mutex);
        exchange->wake.wait(lock, [&] {
            return exchange->stopping || exchange->shedding || !exchange->submissions.empty() ||
                   !exchange->cancels.empty() || !loop.idle();
        });
        submissions.swap(exchange->submissions);
        cancels.swap(exchange->cancels);
        exchange->waiting_first += static_cast<int64_t>(submissions.size());
        stopping = exchange->closed = exchange->stopping;
        shedding = std::exchange(exchange->shedding, false);
    }
    for (Submission& s : submissions) loop.add(s.number, std::move(s.request), std::move(s.events), s.arrival);
    for (int64_t number : cancels) loop.cancel(number);
    if (shedding) loop.end_unstarted(FinishReason::shed);
    return !stopping;
}

void Engine::State::publish() {
    const std::lock_guard lock(exchange->mutex);
    exchange->unfinished = loop.sequences() + static_cast<int64_t>(exchange->submissions.size());
    exchange->waiting_first = loop.waiting_first();
    exchange->started = loop.sequences() - loop.waiting_first();
    exchange->progress = clock.now();
    exchange->stats = loop.stats();
}

Engine::Engine(std::unique_ptr<Executor> executor, const EngineOptions& options)
    : state_(std::make_unique<State>(std::move(executor), options)) {
    try {
        state_->thread = std::thread([state = state_.get()] { state->run(); });
    } catch (const std::system_error& failure) {
        CHECK(false, "the engine's thread cannot be started: {}", failure.what());
    }
}

Engine::~Engine() {
    {
        const std::lock_guard lock(state_->exchange->mutex);
        state_->exchange->stopping = true;
    }
    state_->exchange->wake.notify_one();
    state_->thread.join();
}

Result<std::unique_ptr<RequestStream>> Engine::submit(Request request, std::function<void()> on_ready) {
    Exchange& exchange = *state_->exchange;
    Result<void> admitted = admit(request, state_->admission);
    auto events = std::make_shared<EventQueue>(static_cast<int>(request.prompt.size()), std::move(on_ready));
    int64_t number = 0;
    {
        const std::lock_guard lock(exchange.mutex);
        const auto refuse = [&](Error failure) {
            ++exchange.rejected;
            return failure;
        };
        if (!admitted) return refuse(std::move(admitted).error());
        if (exchange.stopping) return refuse(error(ErrorCode::unavailable, "the engine is stopping"));
        if (exchange.draining)
            return refuse(error(ErrorCode::unavailable, "the engine finishes what it has and takes no new requests"));
        const int64_t waiting = exchange.waiting_first + static_cast<int64_t>(exchange.submissions.size());
        const int64_t could_start = std::max<int64_t>(0, state_->options.max_sequences - exchange.started);
        if (waiting >= state_->options.max_queue + could_start)
            return refuse(error(ErrorCode::overloaded, "{} requests are waiting; at most {} may", waiting,
                                state_->options.max_queue));
        number = ++exchange.last_number;
        const TimePoint now = state_->clock.now();
        if (exchange.unfinished++ == 0) exchange.progress = now;
        exchange.submissions.push_back(
            {.number = number, .request = std::move(request), .events = events, .arrival = now});
    }
    exchange.wake.notify_one();
    return std::unique_ptr<RequestStream>(std::make_unique<Stream>(number, std::move(events), state_->exchange));
}

void Engine::drain() {
    const std::lock_guard lock(state_->exchange->mutex);
    state_->exchange->draining = true;
}

void Engine::shed_waiting() {
    {
        const std::lock_guard lock(state_->exchange->mutex);
        state_->exchange->shedding = true;
    }
    state_->exchange->wake.notify_one();
}

bool Engine::idle() const {
    const std::lock_guard lock(state_->exchange->mutex);
    return state_->exchange->unfinished == 0;
}

bool Engine::stalled(std::chrono::milliseconds limit) const {
    const std::lock_guard lock(state_->exchange->mutex);
    return state_->exchange->unfinished > 0 && state_->clock.now() - state_->exchange->progress > limit;
}

Stats Engine::stats() const {
    const std::lock_guard lock(state_->exchange->mutex);
    Stats stats = state_->exchange->stats;
    stats.waiting += static_cast<int64_t>(state_->exchange->submissions.size());
    stats.rejected = state_->exchange->rejected;
    if (state_->exchange->unfinished > 0)
        stats.step_age_ms =
            std::chrono::duration<double, std::milli>(state_->clock.now() - state_->exchange->progress).count();
    return stats;
}

const EngineOptions& Engine::options() const {
    return state_->options;
}

int64_t Engine::vocab_size() const {
    return state_->admission.vocab_size;
}

}  // namespace nibble::engine
