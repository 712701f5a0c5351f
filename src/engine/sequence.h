// Sequence: a request that the engine has taken, from its place in the queue to its last token. Owned by the step loop,
// moved between waiting and running by the scheduler. Engine thread.
#pragma once

#include "engine/event_queue.h"
#include "engine/page_table.h"
#include "engine/request.h"
#include "engine/slot_table.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace nibble::engine {

using TimePoint = std::chrono::steady_clock::time_point;

struct Sequence {
    Sequence(int64_t number, Request request, std::shared_ptr<EventQueue> events, TimePoint arrival);

    const int64_t number;  // in the order of arrival
    const std::string id;
    const int priority;
    const SamplingParams sampling;
    const int64_t prompt_tokens;
    std::vector<TokenId> tokens;  // prompt, then output

    // The scheduler's. Pages and slot are held while running, and cover what is computed.
    enum class Place : uint8_t { outside, waiting, running } place = Place::outside;
    int64_t computed = 0;  // tokens whose keys, values and state are there; 0 again after a preemption
    std::vector<PageId> pages;
    SlotId slot = -1;
    int preemptions = 0;
    bool reserved = false;  // pages to its very end are set aside: never preempted again
    int64_t last_row = 0;   // when it last had one, counted in rows

    // The step loop's.
    std::shared_ptr<EventQueue> events;
    std::vector<TokenEvent::PromptLogprob> prompt_logprobs;  // of the prompt's first tokens, until the first event
    TimePoint arrival, started{}, last_token{};
    int64_t computed_ever = 0;  // the most that `computed` has been

    std::span<const TokenId> prompt() const { return std::span(tokens).first(static_cast<size_t>(prompt_tokens)); }
    std::span<const TokenId> output() const { return std::span(tokens).subspan(static_cast<size_t>(prompt_tokens)); }
    int64_t output_tokens() const { return static_cast<int64_t>(tokens.size()) - prompt_tokens; }
    int64_t to_compute() const { return static_cast<int64_t>(tokens.size()) - computed; }
    bool decoding() const { return to_compute() == 1 && computed >= prompt_tokens; }

    // Who goes first: priority, then arrival. Preemption does not change it.
    bool ranks_before(const Sequence& other) const {
        return priority != other.priority ? priority < other.priority : number < other.number;
    }
};

}  // namespace nibble::engine
