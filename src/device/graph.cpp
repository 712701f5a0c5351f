#include "device/graph.h"

#include "base/check.h"
#include "device/cuda.h"
#include "device/have_cuda.h"

namespace nibble::device {

Graph Graph::capture(const Device& device, Stream stream, const std::function<void()>& give) {
    CHECK(!device.is_cpu(), "{} has no graphs", device.name);
    Graph graph;
    graph.index_ = device.index;
    if constexpr (kHaveCuda) {
        cuda::begin_capture(device.index, stream);
        give();
        graph.handle_ = cuda::end_capture(device.index, stream);
    }
    return graph;
}

Graph::~Graph() {
    if (handle_ == nullptr) return;
    if constexpr (kHaveCuda) cuda::destroy_graph(index_, handle_);
}

void Graph::launch([[maybe_unused]] Stream stream) const {
    CHECK(handle_ != nullptr);
    if constexpr (kHaveCuda) cuda::launch_graph(index_, stream, handle_);
}

}  // namespace nibble::device
