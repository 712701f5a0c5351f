#include "device/event.h"

#include "base/check.h"
#include "device/cuda.h"
#include "device/have_cuda.h"

namespace nibble::device {

Event Event::create(const Device& device) {
    CHECK(!device.is_cpu(), "{} has no events", device.name);
    Event event;
    event.index_ = device.index;
    if constexpr (kHaveCuda) event.handle_ = cuda::create_event(device.index);
    return event;
}

Event::~Event() {
    if (handle_ == nullptr) return;
    if constexpr (kHaveCuda) cuda::destroy_event(index_, handle_);
}

void Event::record([[maybe_unused]] Stream stream) const {
    CHECK(handle_ != nullptr);
    if constexpr (kHaveCuda) cuda::record_event(index_, stream, handle_);
}

double Event::microseconds_to([[maybe_unused]] const Event& later) const {
    CHECK(handle_ != nullptr && later.handle_ != nullptr);
    if constexpr (kHaveCuda) return cuda::microseconds_between(index_, handle_, later.handle_);
    return 0;
}

}  // namespace nibble::device
