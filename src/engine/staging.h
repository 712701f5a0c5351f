// Staging: arrays that exist twice, where the host writes or reads them and where the device does. On the CPU both are
// the same memory and moving costs nothing. Allocated once; engine thread.
#pragma once

#include "base/result.h"
#include "device/buffer.h"

#include <cstdint>
#include <initializer_list>

namespace nibble::engine {

template <class T>
struct Staged {
    T* host = nullptr;
    T* device = nullptr;
    int64_t capacity = 0;

    device::Tensor tensor(device::DType dtype, std::initializer_list<int64_t> shape) const {
        device::Tensor view(device, dtype, shape);
        CHECK(view.bytes() <= capacity * static_cast<int64_t>(sizeof(T)), "{} of {} elements", view.describe(),
              capacity);
        return view;
    }
};

class Staging {
public:
    static constexpr int64_t kAlignment = 256;
    // What arrays of these sizes take.
    template <class T>
    static constexpr int64_t bytes(int64_t count) {
        return (count * static_cast<int64_t>(sizeof(T)) + kAlignment - 1) / kAlignment * kAlignment;
    }

    Staging() = default;
    // Errors: does_not_fit.
    static Result<Staging> allocate(const device::Device& device, int64_t bytes);

    template <class T>
    Staged<T> array(int64_t count) {
        std::byte* at = place(bytes<T>(count));
        return {.host = reinterpret_cast<T*>(host() + (at - buffer_.data())),
                .device = reinterpret_cast<T*>(at),
                .capacity = count};
    }
    // Elements [begin, begin + count) of an array.
    template <class T>
    void to_device(device::Stream stream, const Staged<T>& array, int64_t begin, int64_t count) const {
        check(begin, count, array.capacity);
        move_to_device(stream, array.device + begin, array.host + begin, count * static_cast<int64_t>(sizeof(T)));
    }
    // All from the beginning of one array to the end of another that was placed after it.
    template <class First, class Last>
    void to_device_through(device::Stream stream, const Staged<First>& first, const Staged<Last>& last) const {
        move_to_device(stream, first.device, first.host, bytes_through(first, last));
    }
    template <class First, class Last>
    void to_host_through(device::Stream stream, const Staged<First>& first, const Staged<Last>& last) const {
        move_to_host(stream, first.host, first.device, bytes_through(first, last));
    }
    template <class T>
    void to_host(device::Stream stream, const Staged<T>& array, int64_t begin, int64_t count) const {
        check(begin, count, array.capacity);
        move_to_host(stream, array.host + begin, array.device + begin, count * static_cast<int64_t>(sizeof(T)));
    }

private:
    std::byte* host() { return mirror_.bytes() == 0 ? buffer_.data() : mirror_.data(); }
    std::byte* place(int64_t bytes);
    static void check(int64_t begin, int64_t count, int64_t capacity) {
        CHECK(begin >= 0 && count >= 0 && begin + count <= capacity, "elements {} to {} of {}", begin, begin + count,
              capacity);
    }
    template <class First, class Last>
    static int64_t bytes_through(const Staged<First>& first, const Staged<Last>& last) {
        const int64_t bytes =
            reinterpret_cast<std::byte*>(last.host + last.capacity) - reinterpret_cast<std::byte*>(first.host);
        CHECK(bytes > 0, "arrays in another order than they were placed");
        return bytes;
    }
    void move_to_device(device::Stream stream, void* device_data, const void* host_data, int64_t bytes) const;
    void move_to_host(device::Stream stream, void* host_data, const void* device_data, int64_t bytes) const;

    device::Device device_;
    device::Buffer buffer_;
    device::Buffer mirror_;  // the host's side; empty on the CPU
    int64_t used_ = 0;
};

}  // namespace nibble::engine
