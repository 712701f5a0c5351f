// BoundedQueue: values from many threads to many threads, at most `capacity` of them waiting. Closing wakes everybody.
//
// A full queue is an ordinary answer (false), not an error: the caller decides what to shed.
#pragma once

#include "base/check.h"

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

namespace nibble {
inline namespace base {

template <class T>
class BoundedQueue {
public:
    explicit BoundedQueue(size_t capacity) : capacity_(capacity) { CHECK(capacity > 0); }
    BoundedQueue(const BoundedQueue&) = delete;
    BoundedQueue& operator=(const BoundedQueue&) = delete;

    // False when full or closed; the value is then untouched.
    bool try_push(T& value) {
        {
            const std::lock_guard lock(mutex_);
            if (closed_ || values_.size() >= capacity_) return false;
            values_.push_back(std::move(value));
        }
        not_empty_.notify_one();
        return true;
    }
    bool try_push(T&& value) { return try_push(value); }

    // Waits for room. False when closed.
    bool push(T value) {
        {
            std::unique_lock lock(mutex_);
            not_full_.wait(lock, [&] { return closed_ || values_.size() < capacity_; });
            if (closed_) return false;
            values_.push_back(std::move(value));
        }
        not_empty_.notify_one();
        return true;
    }

    // Nothing when there is none now.
    std::optional<T> try_pop() {
        std::unique_lock lock(mutex_);
        return take(lock);
    }

    // Waits for a value. Nothing when closed and emptied: what was pushed before close() is still delivered.
    std::optional<T> pop() {
        std::unique_lock lock(mutex_);
        not_empty_.wait(lock, [&] { return closed_ || !values_.empty(); });
        return take(lock);
    }

    // The same, for at most `patience`.
    template <class Rep, class Period>
    std::optional<T> pop_within(std::chrono::duration<Rep, Period> patience) {
        std::unique_lock lock(mutex_);
        // A deadline of the steady clock: a step of the wall clock does not stretch the wait.
        const auto deadline = std::chrono::steady_clock::now() + patience;
        not_empty_.wait_until(lock, deadline, [&] { return closed_ || !values_.empty(); });
        return take(lock);
    }

    void close() {
        {
            const std::lock_guard lock(mutex_);
            closed_ = true;
        }
        not_empty_.notify_all();
        not_full_.notify_all();
    }

    bool closed() const {
        const std::lock_guard lock(mutex_);
        return closed_;
    }
    size_t size() const {
        const std::lock_guard lock(mutex_);
        return values_.size();
    }
    size_t capacity() const { return capacity_; }

private:
    std::optional<T> take(std::unique_lock<std::mutex>& lock) {
        if (values_.empty()) return std::nullopt;
        std::optional<T> value(std::move(values_.front()));
        values_.pop_front();
        lock.unlock();
        not_full_.notify_one();
        return value;
    }

    const size_t capacity_;
    mutable std::mutex mutex_;
    std::condition_variable not_empty_, not_full_;
    std::deque<T> values_;
    bool closed_ = false;
};

}  // namespace base
}  // namespace nibble
