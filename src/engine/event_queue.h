// EventQueue: the events of one request on their way from the engine thread to the reader of its stream. The engine
// never waits here: what is unread is kept in little memory, and the engine is told when that is too much.
//
// push() from the engine thread; everything else from any thread.
#pragma once

#include "engine/request.h"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

namespace nibble::engine {

class EventQueue {
public:
    // on_ready: called after each push, until detach() returns; may be empty.
    EventQueue(int prompt_tokens, std::function<void()> on_ready);

    // False when more than kMaxUnread_bytes are unread; the event is kept all the same. Nothing is pushed after a
    // finish.
    bool push(TokenEvent&& event);

    std::optional<TokenEvent> try_pop();
    std::optional<TokenEvent> pop(std::chrono::milliseconds timeout);
    bool ended() const;  // the event with the finish has been pushed
    void detach();       // on_ready is not called any more. Not from on_ready

private:
    // An event with nothing but a token is kept as its token; the rest is on the heap.
    struct Entry {
        TokenId token;
        FinishReason finish;
        std::unique_ptr<TokenEvent> whole;
    };
    std::optional<TokenEvent> take();

    const int prompt_tokens_;
    mutable std::mutex mutex_;
    std::condition_variable pushed_;
    std::deque<Entry> entries_;
    int64_t unread_bytes_ = 0;
    bool ended_ = false, taken_finish_ = false;

    std::mutex calling_;  // held while on_ready runs
    std::function<void()> on_ready_;
};

}  // namespace nibble::engine
