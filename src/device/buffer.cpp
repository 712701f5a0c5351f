#include "device/buffer.h"

#include "base/bytes.h"
#include "base/check.h"
#include "device/cuda.h"
#include "device/have_cuda.h"
#include "device/host_memory.h"

#include <cstring>

namespace nibble::device {
namespace {

// Linux grants address space that it has no pages for, and kills the process when they are touched. From this size on
// an allocation is compared with what the kernel has left.
constexpr int64_t kCompareFrom = int64_t{64} << 20;

constexpr int64_t kArenaAlignment = 256;

Error no_memory(const Device& device, int64_t bytes, std::string_view what) {
    std::string available = "an unknown amount is";
    if (const auto reading = read_memory(device))
        available = describe_bytes(static_cast<uint64_t>(reading->available_bytes)) + " of " +
                    describe_bytes(static_cast<uint64_t>(reading->total_bytes)) + " is";
    return error(ErrorCode::does_not_fit, "{}: {} cannot be allocated on {}; {} available", what,
                 describe_bytes(static_cast<uint64_t>(bytes)), device.name, available);
}

}  // namespace

Result<Buffer> Buffer::allocate(const Device& device, int64_t bytes, std::string_view what) {
    CHECK(bytes >= 0, "{}: {} bytes", what, bytes);
    Buffer buffer;
    buffer.kind_ = device.kind;
    buffer.index_ = device.index;
    if (bytes == 0) return buffer;
    if (bytes >= kCompareFrom) {
        TRY(const MemoryReading reading, read_memory(device));
        if (bytes > reading.available_bytes) return no_memory(device, bytes, what);
    }
    if (device.is_cpu()) {
        buffer.data_ = map_host_memory(bytes);
    } else {
        if constexpr (kHaveCuda) buffer.data_ = cuda::allocate(device.index, bytes);
    }
    if (buffer.data_ == nullptr) return no_memory(device, bytes, what);
    buffer.bytes_ = bytes;
    return buffer;
}

Result<Buffer> Buffer::allocate_pinned(const Device& device, int64_t bytes, std::string_view what) {
    if (device.is_cpu() || bytes == 0) return allocate(cpu_device(), bytes, what);
    CHECK(bytes > 0, "{}: {} bytes", what, bytes);
    Buffer buffer;
    if constexpr (kHaveCuda) buffer.data_ = cuda::allocate_host(device.index, bytes);
    if (buffer.data_ == nullptr) return no_memory(cpu_device(), bytes, what);
    buffer.bytes_ = bytes;
    buffer.index_ = device.index;
    buffer.pinned_ = true;
    return buffer;
}

Buffer::~Buffer() {
    if (data_ == nullptr) return;
    if (pinned_) {
        if constexpr (kHaveCuda) cuda::free_host(index_, data_);
    } else if (kind_ == DeviceKind::cpu) {
        unmap_host_memory(data_, bytes_);
    } else {
        if constexpr (kHaveCuda) cuda::free(index_, data_);
    }
}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(kind_, other.kind_);
    std::swap(index_, other.index_);
    std::swap(pinned_, other.pinned_);
    return *this;
}

Tensor Buffer::tensor(int64_t offset_bytes, DType dtype, std::initializer_list<int64_t> shape) const {
    Tensor view(data_ == nullptr ? nullptr : data_ + offset_bytes, dtype, shape);
    CHECK(offset_bytes >= 0 && offset_bytes + view.bytes() <= bytes_, "{} at byte {} of a buffer of {}",
          view.describe(), offset_bytes, bytes_);
    return view;
}

void copy_to_device(const Device& device, Stream stream, void* device_data, const void* host_data, int64_t bytes) {
    CHECK(bytes >= 0);
    if (bytes == 0) return;
    if (device.is_cpu()) {
        std::memcpy(device_data, host_data, static_cast<size_t>(bytes));
    } else {
        if constexpr (kHaveCuda) cuda::copy_to_device(device.index, stream, device_data, host_data, bytes);
    }
}

void copy_to_host(const Device& device, Stream stream, void* host_data, const void* device_data, int64_t bytes) {
    CHECK(bytes >= 0);
    if (bytes == 0) return;
    if (device.is_cpu()) {
        std::memcpy(host_data, device_data, static_cast<size_t>(bytes));
    } else {
        if constexpr (kHaveCuda) cuda::copy_to_host(device.index, stream, host_data, device_data, bytes);
    }
}

Stream create_stream(const Device& device) {
    if constexpr (kHaveCuda)
        if (!device.is_cpu()) return cuda::create_stream(device.index);
    return {};
}

void destroy_stream([[maybe_unused]] const Device& device, [[maybe_unused]] Stream stream) {
    if constexpr (kHaveCuda)
        if (!device.is_cpu()) cuda::destroy_stream(device.index, stream);
}

void synchronize(const Device& device, Stream stream) {
    if (device.is_cpu()) return;
    if constexpr (kHaveCuda) cuda::synchronize(device.index, stream);
}

std::byte* Arena::allocate_bytes(int64_t bytes) {
    CHECK(bytes >= 0);
    const int64_t rounded = (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
    const int64_t begin = used_;
    used_ += rounded;
    if (used_ > peak_) peak_ = used_;
    if (measuring_) return nullptr;
    CHECK(begin + bytes <= buffer_.bytes(), "the arena of {} has {} left, {} wanted", describe_bytes(buffer_.bytes()),
          describe_bytes(buffer_.bytes() - begin), describe_bytes(bytes));
    return buffer_.data() + begin;
}

Tensor Arena::allocate(DType dtype, std::initializer_list<int64_t> shape) {
    const int64_t bytes = Tensor(nullptr, dtype, shape).bytes();
    return Tensor(allocate_bytes(bytes), dtype, shape);
}

}  // namespace nibble::device
