// Host: what the kernel lets this process use: processors, cgroup limits. Read at start; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace nibble {
inline namespace base {

// The processors of this process's affinity mask, one of every physical core first, then their SMT siblings.
struct Processors {
    std::vector<int> order;
    int cores = 0;  // physical cores among them; order's first `cores` entries
};
// root: where /sys is looked for; a test gives a folder of its own.
Processors read_processors(const std::string& root = "");
Processors order_processors(const std::vector<int>& mask, const std::string& root);

// The tightest limits over this process's cgroup and its parents, version 1 or 2. Absent: not limited.
struct CgroupLimits {
    std::optional<double> processors;  // quota / period
    std::optional<uint64_t> memory_bytes;
    uint64_t memory_used_bytes = 0;  // of the tightest group, less its inactive file pages
};
CgroupLimits read_cgroup_limits(const std::string& root = "");

// A short file of /proc or /sys, without its last newline. Nothing when it cannot be read.
std::optional<std::string> read_kernel_file(const std::string& path);

}  // namespace base
}  // namespace nibble
