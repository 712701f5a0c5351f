// Graph: work of a stream that was given once and can be launched again as one. GPUs only: the CPU works at once.
#pragma once

#include "device/device.h"
#include "device/stream.h"

#include <functional>
#include <utility>

namespace nibble::device {

class Graph {
public:
    Graph() = default;  // empty
    // `give` gives work to the stream, with no wait, no copy of pageable memory, and nothing that it allocates; none of
    // it is done before launch(), which does it with the same addresses and values. The device is a GPU.
    static Graph capture(const Device& device, Stream stream, const std::function<void()>& give);
    ~Graph();
    Graph(Graph&& other) noexcept { *this = std::move(other); }
    Graph& operator=(Graph&& other) noexcept {
        std::swap(handle_, other.handle_);
        std::swap(index_, other.index_);
        return *this;
    }

    bool empty() const { return handle_ == nullptr; }
    void launch(Stream stream) const;

private:
    void* handle_ = nullptr;
    int index_ = 0;
};

}  // namespace nibble::device
