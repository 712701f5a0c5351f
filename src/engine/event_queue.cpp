#include "engine/event_queue.h"

#include "base/check.h"
#include "engine/engine.h"

#include <utility>

namespace nibble::engine {
namespace {

int64_t unread_bytes(const TokenEvent& event) {
    return static_cast<int64_t>(sizeof(TokenEvent) + event.top.size() * sizeof(TokenLogprob));
}

}  // namespace

EventQueue::EventQueue(int prompt_tokens, std::function<void()> on_ready)
    : prompt_tokens_(prompt_tokens), on_ready_(std::move(on_ready)) {}

bool EventQueue::push(TokenEvent&& event) {
    bool within = true;
    {
        const std::lock_guard lock(mutex_);
        CHECK(!ended_, "an event after the finish");
        CHECK(event.prompt_tokens == prompt_tokens_);
        ended_ = event.finish != FinishReason::none;
        Entry entry{.token = event.token, .finish = event.finish, .whole = nullptr};
        unread_bytes_ += static_cast<int64_t>(sizeof(Entry));
        if (event.logprob || !event.top.empty() || !event.prompt_logprobs.empty() || event.cached_tokens != 0) {
            unread_bytes_ += unread_bytes(event);
            entry.whole = std::make_unique<TokenEvent>(std::move(event));
        }
        entries_.push_back(std::move(entry));
        within = unread_bytes_ <= kMaxUnread_bytes;
    }
    pushed_.notify_all();
    const std::lock_guard calling(calling_);
    if (on_ready_) on_ready_();
    return within;
}

std::optional<TokenEvent> EventQueue::take() {
    if (entries_.empty()) return std::nullopt;
    Entry entry = std::move(entries_.front());
    entries_.pop_front();
    unread_bytes_ -= static_cast<int64_t>(sizeof(Entry));
    taken_finish_ = entry.finish != FinishReason::none;
    if (entry.whole) {
        unread_bytes_ -= unread_bytes(*entry.whole);
        return std::move(*entry.whole);
    }
    TokenEvent event;
    event.token = entry.token;
    event.finish = entry.finish;
    event.prompt_tokens = prompt_tokens_;
    return event;
}

std::optional<TokenEvent> EventQueue::try_pop() {
    const std::lock_guard lock(mutex_);
    return take();
}

std::optional<TokenEvent> EventQueue::pop(std::chrono::milliseconds timeout) {
    std::unique_lock lock(mutex_);
    pushed_.wait_for(lock, timeout, [&] { return !entries_.empty() || taken_finish_; });
    return take();
}

bool EventQueue::ended() const {
    const std::lock_guard lock(mutex_);
    return ended_;
}

void EventQueue::detach() {
    const std::lock_guard calling(calling_);
    on_ready_ = nullptr;
}

}  // namespace nibble::engine
