// Host memory: what the kernel says may still be allocated, and anonymous pages for a Buffer on the CPU.
#pragma once

#include "base/host.h"
#include "base/result.h"
#include "device/device.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace nibble::device {

// From the text of /proc/meminfo and the cgroup's limits, whichever is tighter. Readings that cannot be true (none,
// more available than there is) are refused with both numbers: device_unusable.
Result<MemoryReading> host_memory(std::string_view meminfo, const CgroupLimits& limits);

// Zeroed pages of this process, at a 2 MiB boundary with huge pages asked for from 4 MiB on. Null when refused.
std::byte* map_host_memory(int64_t bytes);
void unmap_host_memory(std::byte* data, int64_t bytes);

}  // namespace nibble::device
