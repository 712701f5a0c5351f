// Buffer: owns one allocation on a device; freed with it. Arena: hands out parts of a buffer, all returned at once.
#pragma once

#include "base/result.h"
#include "device/device.h"
#include "device/stream.h"
#include "device/tensor.h"

#include <initializer_list>
#include <string_view>
#include <utility>

namespace nibble::device {

class Buffer {
public:
    Buffer() = default;
    // 256-byte aligned, zero-filled; huge pages are asked for from 4 MiB on. `what` stands in the error. 0 bytes is
    // fine. Errors: does_not_fit, with what, how much, and what is available.
    static Result<Buffer> allocate(const Device& device, int64_t bytes, std::string_view what);
    // The host's memory that a GPU copies from and to by itself, zero-filled. The same as allocate() on the CPU.
    static Result<Buffer> allocate_pinned(const Device& device, int64_t bytes, std::string_view what);
    ~Buffer();
    Buffer(Buffer&& other) noexcept { *this = std::move(other); }
    Buffer& operator=(Buffer&& other) noexcept;

    std::byte* data() const { return data_; }
    int64_t bytes() const { return bytes_; }
    // A view of bytes [offset, …).
    Tensor tensor(int64_t offset_bytes, DType dtype, std::initializer_list<int64_t> shape) const;

private:
    std::byte* data_ = nullptr;
    int64_t bytes_ = 0;
    DeviceKind kind_ = DeviceKind::cpu;
    int index_ = 0;
    bool pinned_ = false;
};

// Copies between host and device or within one; CPU: at once, CUDA: on the stream. Sizes must match exactly.
void copy_to_device(const Device& device, Stream stream, void* device_data, const void* host_data, int64_t bytes);
void copy_to_host(const Device& device, Stream stream, void* host_data, const void* device_data, int64_t bytes);
void synchronize(const Device& device, Stream stream);
// An order of work of its own; the owner destroys it. Empty on the CPU.
Stream create_stream(const Device& device);
void destroy_stream(const Device& device, Stream stream);

// Bump allocation for one step's activations and scratch. Without memory (measuring) it only counts, and its tensors
// have null data: that is how a recorded forward yields the scratch peak. One thread.
class Arena {
public:
    Arena() = default;  // measuring
    explicit Arena(Buffer buffer) : buffer_(std::move(buffer)), measuring_(false) {}

    Tensor allocate(DType dtype, std::initializer_list<int64_t> shape);
    std::byte* allocate_bytes(int64_t bytes);

    struct Mark {
        int64_t used;
    };
    Mark mark() const { return {used_}; }
    void release(Mark mark) { used_ = mark.used; }  // everything allocated since the mark
    int64_t used_bytes() const { return used_; }
    int64_t peak_bytes() const { return peak_; }
    int64_t capacity_bytes() const { return buffer_.bytes(); }

private:
    Buffer buffer_;
    bool measuring_ = true;
    int64_t used_ = 0, peak_ = 0;
};

// Returns to the mark at the end of a scope.
class ArenaScope {
public:
    explicit ArenaScope(Arena& arena) : arena_(arena), mark_(arena.mark()) {}
    ~ArenaScope() { arena_.release(mark_); }
    ArenaScope(const ArenaScope&) = delete;
    ArenaScope& operator=(const ArenaScope&) = delete;

private:
    Arena& arena_;
    Arena::Mark mark_;
};

}  // namespace nibble::device
