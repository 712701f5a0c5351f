#include "engine/step_loop.h"

#include "base/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <utility>

namespace nibble::engine {
namespace {

double milliseconds(TimePoint from, TimePoint to) {
    return std::chrono::duration<double, std::milli>(to - from).count();
}

// What a failing CHECK prints: the plan that is being run. It does not change meanwhile, so any thread may read it.
std::atomic<const StepPlan*> plan_in_work = nullptr;

std::string describe_plan_in_work() {
    const StepPlan* plan = plan_in_work;
    if (plan == nullptr) return "between steps";
    std::string text = fmt::format("in a step of {} tokens, {} rows:", plan->tokens, plan->rows.size());
    for (const StepRow& row : plan->rows)
        text += fmt::format("\n  sequence {}: positions {} to {}, slot {}, {} pages{}{}", row.sequence, row.position,
                            row.position + static_cast<int64_t>(row.tokens.size()) - 1, row.slot, row.pages.size(),
                            row.sample ? ", sampled" : "", row.prompt_logprobs ? ", prompt logprobs" : "");
    return text;
}

}  // namespace

EngineOptions options_in_effect(const EngineOptions& wanted, const ExecutorLimits& limits) {
    EngineOptions options = wanted;
    const int64_t cached = limits.pages > 0 ? limits.pages * limits.page_size + 1 : limits.max_context;
    if (options.max_context <= 0) options.max_context = std::min(limits.max_context, cached);
    options.max_context = std::min(options.max_context, limits.max_context);
    options.max_sequences = std::clamp<int64_t>(options.max_sequences, 1, std::min(limits.slots, limits.max_step_rows));
    options.max_step_tokens = std::clamp<int64_t>(options.max_step_tokens, 1, limits.max_step_tokens);
    options.max_queue = std::max<int64_t>(options.max_queue, 0);
    if (limits.max_logit_rows > 0) options.max_sequences = std::min(options.max_sequences, limits.max_logit_rows - 1);
    return options;
}

AdmissionLimits admission_limits(const EngineOptions& in_effect, const ExecutorLimits& limits) {
    return {.vocab_size = limits.vocab_size,
            .max_context = in_effect.max_context,
            .pages = limits.pages,
            .page_size = limits.page_size};
}

StepLoop::StepLoop(Executor& executor, const EngineOptions& options, const Clock& clock)
    : executor_(executor),
      clock_(clock),
      scheduler_({.pages = executor.limits().pages,
                  .page_size = executor.limits().page_size,
                  .slots = executor.limits().slots,
                  .max_sequences = options.max_sequences,
                  .max_step_tokens = options.max_step_tokens,
                  .max_logit_rows = executor.limits().max_logit_rows > 0
                                        ? executor.limits().max_logit_rows
                                        : options.max_step_tokens + options.max_sequences}) {
    set_crash_context(describe_plan_in_work);
    results_.reserve(static_cast<size_t>(options.max_sequences));
    refresh_gauges();
}

void StepLoop::add(int64_t number, Request request, std::shared_ptr<EventQueue> events, TimePoint arrival) {
    auto sequence = std::make_unique<Sequence>(number, std::move(request), std::move(events), arrival);
    scheduler_.add(*sequence);
    ++waiting_first_;
    const bool inserted = sequences_.emplace(number, std::move(sequence)).second;
    CHECK(inserted, "sequence {} is there already", number);
    refresh_gauges();
}

void StepLoop::cancel(int64_t number) {
    const auto found = sequences_.find(number);
    if (found == sequences_.end()) return;
    TokenEvent event = event_for(*found->second);
    event.finish = FinishReason::cancelled;
    now_ = clock_.now();
    end(*found->second, std::move(event));
    refresh_gauges();
}

void StepLoop::end_all(FinishReason reason) {
    now_ = clock_.now();
    while (!sequences_.empty()) {
        Sequence& sequence = *sequences_.begin()->second;
        TokenEvent event = event_for(sequence);
        event.finish = reason;
        end(sequence, std::move(event));
    }
    refresh_gauges();
}

void StepLoop::end_unstarted(FinishReason reason) {
    now_ = clock_.now();
    std::vector<Sequence*> unstarted;
    for (const auto& [number, sequence] : sequences_)
        if (sequence->started == TimePoint{}) unstarted.push_back(sequence.get());
    for (Sequence* sequence : unstarted) {
        TokenEvent event = event_for(*sequence);
        event.finish = reason;
        end(*sequence, std::move(event));
    }
    refresh_gauges();
}

TokenEvent StepLoop::event_for(const Sequence& sequence) const {
    TokenEvent event;
    event.prompt_tokens = static_cast<int>(sequence.prompt_tokens);
    return event;
}

void StepLoop::step() {
    const StepPlan& plan = scheduler_.plan();
    const TimePoint start = clock_.now();
    for (Sequence* sequence : scheduler_.planned()) {
        if (sequence->started != TimePoint{}) continue;
        sequence->started = start;
        --waiting_first_;
        stats_.queue.add(milliseconds(sequence->arrival, start));
    }
    results_.assign(plan.rows.size(), RowResult{});
    plan_in_work = &plan;
    executor_.run(plan, results_);
    plan_in_work = nullptr;
    now_ = clock_.now();
    stats_.step_ms_total += milliseconds(start, now_);
    ++stats_.steps;
    scheduler_.advance();
    // Ending a sequence leaves the other rows and what they point to as they are.
    for (size_t i = 0; i < results_.size(); ++i) commit(*scheduler_.planned()[i], plan.rows[i], results_[i]);
    refresh_gauges();
}

void StepLoop::commit(Sequence& sequence, const StepRow& row, RowResult& result) {
    const int64_t again = std::min(sequence.computed, sequence.computed_ever) - row.position;
    if (again > 0) stats_.recomputed_tokens += static_cast<uint64_t>(again);
    if (sequence.computed_ever < sequence.prompt_tokens && sequence.computed >= sequence.prompt_tokens)
        stats_.prompt_tokens += static_cast<uint64_t>(sequence.prompt_tokens);
    sequence.computed_ever = std::max(sequence.computed_ever, sequence.computed);

    TokenEvent event = event_for(sequence);
    if (result.numerical_error) {
        event.finish = FinishReason::numerical_error;
        end(sequence, std::move(event));
        return;
    }
    if (row.prompt_logprobs) {
        const size_t expected = row.tokens.size() - (row.next_prompt_token < 0 ? 1 : 0);
        CHECK(result.prompt_logprobs.size() == expected, "{} prompt logprobs of {}", result.prompt_logprobs.size(),
              expected);
        std::move(result.prompt_logprobs.begin(), result.prompt_logprobs.end(),
                  std::back_inserter(sequence.prompt_logprobs));
    }
    if (row.sample) {
        CHECK(result.token >= 0 && result.token < executor_.limits().vocab_size, "token {} of a vocabulary of {}",
              result.token, executor_.limits().vocab_size);
        sequence.tokens.push_back(result.token);
        event.token = result.token;
        event.logprob = result.logprob;
        event.top = std::move(result.top);
        const SamplingParams& sampling = sequence.sampling;
        const bool stops = !sampling.ignore_eos &&
                           std::binary_search(sampling.stop_ids.begin(), sampling.stop_ids.end(), result.token) &&
                           sequence.output_tokens() > sampling.min_tokens;
        if (stops)
            event.finish = FinishReason::stop;
        else if (sequence.output_tokens() >= sampling.max_tokens)
            event.finish = FinishReason::length;

        ++stats_.generated_tokens;
        if (sequence.output_tokens() == 1) {
            stats_.time_to_first_token.add(milliseconds(sequence.arrival, now_));
            stats_.prefill.add(milliseconds(sequence.started, now_));
        } else {
            stats_.inter_token.add(milliseconds(sequence.last_token, now_));
        }
        sequence.last_token = now_;
    } else if (sequence.to_compute() == 0) {
        event.finish = FinishReason::length;  // max_tokens 0: the prompt is read
    } else {
        return;
    }
    event.prompt_logprobs = std::exchange(sequence.prompt_logprobs, {});
    if (event.finish != FinishReason::none) {
        end(sequence, std::move(event));
    } else if (!sequence.events->push(std::move(event))) {
        ++stats_.unread;
        TokenEvent last = event_for(sequence);
        last.finish = FinishReason::cancelled;
        end(sequence, std::move(last));
    }
}

// Frees what the sequence holds, tells its reader, and forgets it.
void StepLoop::end(Sequence& sequence, TokenEvent&& event) {
    switch (event.finish) {
        case FinishReason::stop:
            ++stats_.finished_stop;
            break;
        case FinishReason::length:
            ++stats_.finished_length;
            break;
        case FinishReason::cancelled:
        case FinishReason::shutdown:
        case FinishReason::shed:
            ++stats_.finished_cancelled;
            break;
        case FinishReason::numerical_error:
            ++stats_.finished_error;
            break;
        case FinishReason::none:
            CHECK(false, "sequence {} ends without a reason", sequence.number);
    }
    stats_.end_to_end.add(milliseconds(sequence.arrival, now_));
    if (sequence.started == TimePoint{}) --waiting_first_;
    scheduler_.remove(sequence);
    const std::unique_ptr<Sequence> ended = std::move(sequences_.find(sequence.number)->second);
    sequences_.erase(ended->number);
    ended->events->push(std::move(event));
}

void StepLoop::refresh_gauges() {
    const PageTable& pages = scheduler_.page_table();
    const SlotTable& slots = scheduler_.slot_table();
    stats_.running = scheduler_.running();
    stats_.waiting = scheduler_.waiting();
    stats_.pages_total = pages.pages();
    stats_.pages_used = pages.pages() - pages.free_pages();
    stats_.slots_total = slots.slots();
    stats_.slots_used = slots.slots() - slots.free_slots();
    stats_.preemptions = static_cast<uint64_t>(scheduler_.preemptions());
}

}  // namespace nibble::engine
