#include "engine/staging.h"

#include "base/check.h"

namespace nibble::engine {

Result<Staging> Staging::allocate(const device::Device& device, int64_t bytes) {
    Staging staging;
    staging.device_ = device;
    TRY(staging.buffer_, device::Buffer::allocate(device, bytes, "what a step is given and gives back"));
    if (!device.is_cpu()) {
        TRY(staging.mirror_, device::Buffer::allocate_pinned(device, bytes, "the host's side of a step"));
    }
    return staging;
}

std::byte* Staging::place(int64_t bytes) {
    CHECK(used_ + bytes <= buffer_.bytes(), "{} more bytes of {}, {} used", bytes, buffer_.bytes(), used_);
    std::byte* at = buffer_.data() + used_;
    used_ += bytes;
    return at;
}

void Staging::move_to_device(device::Stream stream, void* device_data, const void* host_data, int64_t bytes) const {
    if (!device_.is_cpu()) device::copy_to_device(device_, stream, device_data, host_data, bytes);
}

void Staging::move_to_host(device::Stream stream, void* host_data, const void* device_data, int64_t bytes) const {
    if (!device_.is_cpu()) device::copy_to_host(device_, stream, host_data, device_data, bytes);
}

}  // namespace nibble::engine
