#include "base/host.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <map>
#include <set>
#include <string_view>

namespace nibble {
inline namespace base {
namespace {

constexpr size_t kKernelFileLimit = 4u << 20;

std::optional<uint64_t> parse_number(std::string_view text) {
    uint64_t value = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failure != std::errc() || end == text.data()) return std::nullopt;
    return value;
}

std::optional<uint64_t> read_number(const std::string& path) {
    const auto text = read_kernel_file(path);
    return text ? parse_number(*text) : std::nullopt;
}

// The value after "key " at the start of a line, as in memory.stat.
std::optional<uint64_t> number_of_key(std::string_view text, std::string_view key) {
    while (!text.empty()) {
        const size_t end = text.find('\n');
        const std::string_view line = text.substr(0, end);
        if (line.size() > key.size() && line.starts_with(key) && line[key.size()] == ' ')
            return parse_number(line.substr(key.size() + 1));
        if (end == std::string_view::npos) break;
        text.remove_prefix(end + 1);
    }
    return std::nullopt;
}

void tighten_processors(CgroupLimits& limits, double quota, double period) {
    if (quota <= 0 || period <= 0) return;
    const double processors = quota / period;
    if (!limits.processors || processors < *limits.processors) limits.processors = processors;
}

void tighten_memory(CgroupLimits& limits, uint64_t limit, std::optional<uint64_t> used, uint64_t reclaimable) {
    if (limits.memory_bytes && *limits.memory_bytes <= limit) return;
    limits.memory_bytes = limit;
    const uint64_t total = used.value_or(0);
    limits.memory_used_bytes = total > reclaimable ? total - reclaimable : 0;
}

void read_group_v2(CgroupLimits& limits, const std::string& group) {
    if (const auto text = read_kernel_file(group + "/cpu.max")) {
        const size_t space = text->find(' ');
        const auto quota = parse_number(*text);  // "max" is no number: not limited
        if (quota && space != std::string::npos)
            if (const auto period = parse_number(std::string_view(*text).substr(space + 1)))
                tighten_processors(limits, static_cast<double>(*quota), static_cast<double>(*period));
    }
    if (const auto limit = read_number(group + "/memory.max")) {
        const std::string stat = read_kernel_file(group + "/memory.stat").value_or("");
        tighten_memory(limits, *limit, read_number(group + "/memory.current"),
                       number_of_key(stat, "inactive_file").value_or(0));
    }
}

void read_cpu_group_v1(CgroupLimits& limits, const std::string& group) {
    const auto quota = read_number(group + "/cpu.cfs_quota_us");  // -1 is no number here: not limited
    const auto period = read_number(group + "/cpu.cfs_period_us");
    if (quota && period) tighten_processors(limits, static_cast<double>(*quota), static_cast<double>(*period));
}

void read_memory_group_v1(CgroupLimits& limits, const std::string& group) {
    const auto limit = read_number(group + "/memory.limit_in_bytes");
    if (!limit || *limit >= (uint64_t{1} << 62)) return;  // version 1 writes "none" as the largest page multiple
    const std::string stat = read_kernel_file(group + "/memory.stat").value_or("");
    tighten_memory(limits, *limit, read_number(group + "/memory.usage_in_bytes"),
                   number_of_key(stat, "total_inactive_file").value_or(0));
}

// Calls read for the group and each of its parents up to the mount. A container may see a path of the host that does
// not exist inside: its files are simply absent, and the walk ends at the mount, which is the container's own group.
template <class Read>
void walk_up(const std::string& mount, std::string path, Read&& read) {
    for (int depth = 0; depth < 64; ++depth) {
        read(mount + (path == "/" ? "" : path));
        if (path.empty() || path == "/") return;
        path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
    }
}

bool names_controller(std::string_view list, std::string_view name) {
    while (!list.empty()) {
        const size_t comma = list.find(',');
        if (list.substr(0, comma) == name) return true;
        if (comma == std::string_view::npos) return false;
        list.remove_prefix(comma + 1);
    }
    return false;
}

}  // namespace

std::optional<std::string> read_kernel_file(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return std::nullopt;
    std::string text;
    char part[4096];
    while (text.size() < kKernelFileLimit) {
        const ssize_t got = ::read(fd, part, sizeof part);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            ::close(fd);
            return std::nullopt;
        }
        if (got == 0) break;
        text.append(part, static_cast<size_t>(got));
    }
    ::close(fd);
    if (!text.empty() && text.back() == '\n') text.pop_back();
    return text;
}

Processors order_processors(const std::vector<int>& mask, const std::string& root) {
    Processors processors;
    std::vector<int> siblings;
    std::set<std::pair<std::string, std::string>> seen;
    for (const int cpu : mask) {
        const std::string topology = root + "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
        const auto core = read_kernel_file(topology + "core_id");
        const auto package = read_kernel_file(topology + "physical_package_id");
        // Without topology every processor counts as a core.
        const bool first = !core || seen.emplace(package.value_or(""), *core).second;
        (first ? processors.order : siblings).push_back(cpu);
    }
    processors.cores = static_cast<int>(processors.order.size());
    processors.order.insert(processors.order.end(), siblings.begin(), siblings.end());
    return processors;
}

Processors read_processors(const std::string& root) {
    std::vector<int> mask;
    for (int count = 1024; count <= (1 << 18); count *= 4) {  // grows until the kernel's mask fits
        cpu_set_t* set = CPU_ALLOC(count);
        if (set == nullptr) break;
        const size_t size = CPU_ALLOC_SIZE(count);
        CPU_ZERO_S(size, set);
        const bool fits = sched_getaffinity(0, size, set) == 0;
        for (int cpu = 0; fits && cpu < count; ++cpu)
            if (CPU_ISSET_S(cpu, size, set)) mask.push_back(cpu);
        CPU_FREE(set);
        if (fits) break;
    }
    if (mask.empty()) mask.push_back(0);
    return order_processors(mask, root);
}

CgroupLimits read_cgroup_limits(const std::string& root) {
    CgroupLimits limits;
    const std::string mount = root + "/sys/fs/cgroup";
    std::string text = read_kernel_file(root + "/proc/self/cgroup").value_or("");
    for (std::string_view rest = text; !rest.empty();) {
        const size_t end = rest.find('\n');
        const std::string_view line = rest.substr(0, end);
        rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
        const size_t first = line.find(':');
        const size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
        if (second == std::string_view::npos) continue;
        const std::string_view controllers = line.substr(first + 1, second - first - 1);
        const std::string path(line.substr(second + 1));
        if (path.find("..") != std::string::npos) continue;  // a group outside this namespace
        if (controllers.empty()) {
            walk_up(mount, path, [&](const std::string& group) { read_group_v2(limits, group); });
        } else if (names_controller(controllers, "cpu")) {
            walk_up(mount + "/cpu", path, [&](const std::string& group) { read_cpu_group_v1(limits, group); });
        } else if (names_controller(controllers, "memory")) {
            walk_up(mount + "/memory", path, [&](const std::string& group) { read_memory_group_v1(limits, group); });
        }
    }
    return limits;
}

}  // namespace base
}  // namespace nibble
