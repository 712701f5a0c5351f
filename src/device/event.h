// Event: a mark in a stream's work, with the time at which the device came to it. GPUs only: the CPU works at once, and
// has clocks.
#pragma once

#include "device/device.h"
#include "device/stream.h"

#include <utility>

namespace nibble::device {

class Event {
public:
    Event() = default;                          // empty
    static Event create(const Device& device);  // which is a GPU
    ~Event();
    Event(Event&& other) noexcept { *this = std::move(other); }
    Event& operator=(Event&& other) noexcept {
        std::swap(handle_, other.handle_);
        std::swap(index_, other.index_);
        return *this;
    }

    // Behind what the stream was given so far. In a capture (device/graph.h) the mark becomes a part of the graph and
    // is passed by each launch of it.
    void record(Stream stream) const;
    // From this mark to a later one, by the device's clock. The stream has been waited for since both were passed.
    double microseconds_to(const Event& later) const;

private:
    void* handle_ = nullptr;
    int index_ = 0;
};

}  // namespace nibble::device
