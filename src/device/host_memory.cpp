#include "device/host_memory.h"

#include "base/bytes.h"
#include "base/check.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <limits>
#include <optional>

namespace nibble::device {
namespace {

constexpr int64_t kHugePage = int64_t{2} << 20;
constexpr int64_t kHugePagesFrom = int64_t{4} << 20;

int64_t mapped_bytes(int64_t bytes) {
    static const int64_t page = sysconf(_SC_PAGESIZE);
    const int64_t unit = bytes >= kHugePagesFrom ? kHugePage : page;
    return (bytes + unit - 1) / unit * unit;
}

// "MemTotal:       24682304 kB" -> bytes.
std::optional<int64_t> meminfo_field(std::string_view meminfo, std::string_view field) {
    size_t at = meminfo.starts_with(field) ? 0 : meminfo.find("\n" + std::string(field));
    if (at == std::string_view::npos) return std::nullopt;
    if (meminfo[at] == '\n') ++at;
    std::string_view rest = meminfo.substr(at + field.size());
    if (rest.empty() || rest[0] != ':') return std::nullopt;
    rest.remove_prefix(std::min(rest.find_first_not_of(" \t", 1), rest.size()));
    int64_t kib = 0;
    const auto [end, failure] = std::from_chars(rest.data(), rest.data() + rest.size(), kib);
    if (failure != std::errc() || end == rest.data()) return std::nullopt;
    return checked_multiply<int64_t>(kib, 1024);
}

}  // namespace

Result<MemoryReading> host_memory(std::string_view meminfo, const CgroupLimits& limits) {
    const auto total = meminfo_field(meminfo, "MemTotal");
    const auto available = meminfo_field(meminfo, "MemAvailable");
    const auto worded = [](std::optional<int64_t> bytes) {
        if (!bytes) return std::string("no number");
        return *bytes < 0 ? std::to_string(*bytes) + " bytes" : describe_bytes(static_cast<uint64_t>(*bytes));
    };
    if (!total || !available || *total <= 0 || *available < 0 || *available > *total)
        return error(ErrorCode::device_unusable,
                     "/proc/meminfo cannot be true: MemTotal {}, MemAvailable {}; no memory budget can be made from it",
                     worded(total), worded(available));
    MemoryReading reading{*total, *available};
    if (limits.memory_bytes && *limits.memory_bytes < static_cast<uint64_t>(*total)) {
        reading.total_bytes = static_cast<int64_t>(*limits.memory_bytes);
        const int64_t used = static_cast<int64_t>(
            std::min<uint64_t>(limits.memory_used_bytes, static_cast<uint64_t>(reading.total_bytes)));
        reading.available_bytes = std::min(reading.available_bytes, reading.total_bytes - used);
    }
    return reading;
}

std::byte* map_host_memory(int64_t bytes) {
    CHECK(bytes > 0);
    const auto mapped = checked_add<int64_t>(bytes, 2 * kHugePage);
    if (!mapped) return nullptr;
    const int64_t size = mapped_bytes(bytes);
    const bool huge = bytes >= kHugePagesFrom;
    // Huge pages need a 2 MiB boundary, which mmap does not promise: map one more and return what is too much.
    const int64_t extra = huge ? kHugePage : 0;
    void* region = mmap(nullptr, static_cast<size_t>(size + extra), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED) return nullptr;
    auto* data = static_cast<std::byte*>(region);
    if (huge) {
        const auto address = reinterpret_cast<uintptr_t>(data);
        const int64_t before = static_cast<int64_t>((kHugePage - address % kHugePage) % kHugePage);
        if (before > 0) munmap(data, static_cast<size_t>(before));
        data += before;
        if (extra > before) munmap(data + size, static_cast<size_t>(extra - before));
        (void)madvise(data, static_cast<size_t>(size), MADV_HUGEPAGE);  // advice: a kernel without them refuses
    }
    return data;
}

void unmap_host_memory(std::byte* data, int64_t bytes) {
    if (data != nullptr) munmap(data, static_cast<size_t>(mapped_bytes(bytes)));
}

}  // namespace nibble::device
