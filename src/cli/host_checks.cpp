#include "cli/host_checks.h"

#include "base/bytes.h"
#include "base/host.h"
#include "cli/machine.h"
#include "cli/memory_guard.h"
#include "cli/memory_ledger.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <system_error>

namespace nibble::cli {
namespace {

namespace fs = std::filesystem;
using State = Check::State;

constexpr uint64_t kGiB = uint64_t{1} << 30;
constexpr uint64_t kEnoughFiles = 4096;  // connections, and what a process has beside
constexpr uint64_t kEnoughLocked = uint64_t{8} * kGiB;

Check fine(std::string what, std::string found) {
    return {.state = State::ok, .what = std::move(what), .found = std::move(found), .consequence = {}, .remedy = {}};
}

Check warning(std::string what, std::string found, std::string consequence, std::string remedy) {
    return {State::warning, std::move(what), std::move(found), std::move(consequence), std::move(remedy)};
}

Check check_processor(const std::string& root) {
    const CpuReading cpu = read_cpu(root);
    const Processors processors = read_processors(root);
    std::vector<std::string> fast;
    for (const char* feature : {"avx2", "asimd", "asimddp", "bf16", "i8mm", "sve", "sve2", "amx_bf16"})
        if (cpu.has(feature)) fast.emplace_back(feature);
    for (const char* part : {"f", "_vnni", "_bf16", "_fp16"})
        if (const std::string feature = std::string("avx512") + part; cpu.has(feature)) fast.push_back(feature);
    const std::string found = fmt::format("{}, {} cores, {} threads; {}", cpu.name.empty() ? "unnamed" : cpu.name,
                                          processors.cores, processors.order.size(),
                                          fast.empty() ? "no wide vectors" : fmt::format("{}", fmt::join(fast, " ")));
    if (!cpu.has("avx2") && !cpu.has("asimd"))
        return warning("processor", found, "products run in narrow vectors, several times slower than memory allows",
                       "use a processor with AVX2 or NEON");
    return fine("processor", found);
}

std::optional<Check> check_clocks(const std::string& root) {
    const CpuReading cpu = read_cpu(root);
    std::string found = cpu.governor.empty() ? "governor not told" : fmt::format("governor {}", cpu.governor);
    if (cpu.mhz) found += fmt::format(", {:.0f} MHz", *cpu.mhz);
    if (cpu.max_mhz) found += fmt::format(" of {:.0f}", *cpu.max_mhz);
    if (cpu.temperature_c) found += fmt::format(", {:.0f} degrees", *cpu.temperature_c);
    if (cpu.governor == "powersave" || cpu.governor == "conservative")
        return warning("processor clocks", found, "clocks rise late or not at all between the steps of a token",
                       "cpupower frequency-set -g performance");
    if (cpu.throttled.value_or(false))
        return warning("processor clocks", found + ", slowed for its temperature since the start",
                       "speed falls after minutes of load", "look after cooling; read the record of bench beside it");
    if (cpu.governor.empty() && !cpu.mhz) return std::nullopt;
    return fine("processor clocks", found);
}

void check_memory(const std::string& root, bool unified, std::vector<Check>& checks) {
    const std::string info = read_kernel_file(root + "/proc/meminfo").value_or("");
    const auto pressure = read_memory_pressure(root);
    if (!pressure) {
        checks.push_back({State::failed, "memory", pressure.error().message, "no memory budget can be made",
                          "mount /proc; look at the kernel's log"});
        return;
    }
    const auto total = static_cast<uint64_t>(pressure->memory.total_bytes);
    const auto available = static_cast<uint64_t>(pressure->memory.available_bytes);
    const std::string found = fmt::format("{} available of {}", describe_bytes(available), describe_bytes(total));
    if (available < total / 4)
        checks.push_back(warning("memory", found, "other programs hold most of it: little context will fit",
                                 "end them, or give --memory-budget"));
    else
        checks.push_back(fine("memory", found));

    const auto kib = [&](std::string_view field) { return number_of_field(info, field).value_or(0) * 1024; };
    const uint64_t cached = kib("Cached") + kib("Buffers"), shared = std::min(cached, kib("Shmem"));
    checks.push_back(
        fine("page cache", fmt::format("{} that the kernel gives back when it is needed; not counted as used",
                                       describe_bytes(cached - shared))));
    const uint64_t swap = kib("SwapTotal"), swapped = swap - std::min(swap, kib("SwapFree"));
    const std::string swap_found =
        swap == 0 ? "none" : fmt::format("{} of {} in use", describe_bytes(swapped), describe_bytes(swap));
    if (swapped > kGiB / 4)
        checks.push_back(warning("swap", swap_found,
                                 "weights that were paged out are read from disk, a token at a time",
                                 "swapoff -a, or end what fills the memory"));
    else if (swap > 0 && unified)
        checks.push_back(warning(
            "swap", swap_found,
            "on memory shared with a GPU the host can freeze for minutes instead of ending a program", "swapoff -a"));
    else
        checks.push_back(fine("swap", swap_found));

    if (!read_kernel_file(root + "/proc/pressure/memory"))
        checks.push_back(warning("memory pressure", "the kernel does not tell (no /proc/pressure)",
                                 "serve sees only how much memory is available, not that others wait for it",
                                 "boot with psi=1"));
    else if (pressure->stall_percent > 5)
        checks.push_back(
            warning("memory pressure", describe(*pressure), "serve refuses new work above 20 %", "end what allocates"));
    else
        checks.push_back(fine("memory pressure", fmt::format("{:.1f} % of the last 10 s", pressure->stall_percent)));
    if (read_kernel_file(root + "/proc/sys/vm/overcommit_memory").value_or("0") == "2")
        checks.push_back(warning("overcommit", "strict (vm.overcommit_memory = 2)",
                                 "allocations may fail though memory is available", "sysctl vm.overcommit_memory=0"));
}

Check check_huge_pages(const std::string& root) {
    const auto text = read_kernel_file(root + "/sys/kernel/mm/transparent_hugepage/enabled");
    if (!text)
        return warning("huge pages", "the kernel has none", "weights are read through 512 times as many page entries",
                       "use a kernel with CONFIG_TRANSPARENT_HUGEPAGE");
    const size_t open = text->find('['), close = text->find(']');
    const std::string mode =
        open < close && close != std::string::npos ? text->substr(open + 1, close - open - 1) : *text;
    if (mode == "never")
        return warning("huge pages", "transparent huge pages: never",
                       "weights are read through 512 times as many page entries: some percent slower on a CPU",
                       "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled");
    return fine("huge pages", fmt::format("transparent huge pages: {}", mode));
}

Check check_group(const std::string& root) {
    const CgroupLimits limits = read_cgroup_limits(root);
    std::vector<std::string> parts;
    if (limits.processors) parts.push_back(fmt::format("{:.1f} processors", *limits.processors));
    if (limits.memory_bytes)
        parts.push_back(fmt::format("{} of memory, {} in use", describe_bytes(*limits.memory_bytes),
                                    describe_bytes(limits.memory_used_bytes)));
    if (parts.empty()) return fine("control group", "no limits");
    const std::string found = fmt::format("limited to {}", fmt::join(parts, ", "));
    if (limits.processors && *limits.processors < 1)
        return warning("control group", found, "threads are paused in the middle of every step", "raise cpu.max");
    if (limits.memory_bytes && limits.memory_used_bytes > *limits.memory_bytes / 4 * 3)
        return warning("control group", found, "little is left: the plan sees the limit and not the host's memory",
                       "raise memory.max");
    return fine("control group", found);
}

// The soft and hard limit of a line of /proc/self/limits; "unlimited" is the largest number.
struct Limit {
    uint64_t soft = 0, hard = 0;
};
std::optional<Limit> limit_of(std::string_view text, std::string_view name) {
    size_t at = text.find(name);
    if (at == std::string_view::npos) return std::nullopt;
    text.remove_prefix(at + name.size());
    const auto next = [&]() -> std::optional<uint64_t> {
        text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
        const size_t end = std::min(text.find_first_of(" \n"), text.size());
        const std::string_view word = text.substr(0, end);
        text.remove_prefix(end);
        if (word == "unlimited") return UINT64_MAX;
        uint64_t value = 0;
        const auto [last, failure] = std::from_chars(word.data(), word.data() + word.size(), value);
        if (failure != std::errc() || last == word.data()) return std::nullopt;
        return value;
    };
    const auto soft = next(), hard = next();
    if (!soft || !hard) return std::nullopt;
    return Limit{*soft, *hard};
}

void check_open_files(const std::string& root, std::vector<Check>& checks) {
    const std::string text = read_kernel_file(root + "/proc/self/limits").value_or("");
    if (const auto files = limit_of(text, "Max open files")) {
        const std::string found = fmt::format("{} open files, may be raised to {}", files->soft, files->hard);
        if (files->hard < kEnoughFiles)
            checks.push_back(warning("open files", found, fmt::format("about {} clients at once", files->hard / 2),
                                     "ulimit -Hn 65536, or LimitNOFILE= of the unit"));
        else
            checks.push_back(fine("open files", found));
    }
}

// The first file of that name in the places where libraries lie.
std::optional<std::string> find_library(const std::string& root, const char* name) {
    for (const char* folder :
         {"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib",
          "/usr/local/cuda/lib64", "/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu"}) {
        std::error_code ignored;
        const fs::path path = fs::path(root + folder) / name;
        if (fs::exists(path, ignored)) return path.string();
    }
    return std::nullopt;
}

}  // namespace

const char* state_name(Check::State state) {
    switch (state) {
        case State::ok:
            return "ok";
        case State::warning:
            return "warning";
        case State::failed:
            return "failed";
    }
    return "";
}

std::vector<Check> check_host(const std::string& root, bool unified) {
    std::vector<Check> checks = {check_processor(root)};
    if (auto clocks = check_clocks(root)) checks.push_back(*std::move(clocks));
    check_memory(root, unified, checks);
    checks.push_back(check_huge_pages(root));
    checks.push_back(check_group(root));
    check_open_files(root, checks);
    return checks;
}

std::vector<Check> check_fabric(const std::string& root, size_t gpus) {
    std::vector<Check> checks;
    const auto nccl = find_library(root, "libnccl.so.2");
    if (nccl)
        checks.push_back(fine("NCCL", *nccl));
    else if (gpus > 1)
        checks.push_back(warning("NCCL", "libnccl.so.2 is not found", "several GPUs cannot work on one model",
                                 "apt install libnccl2"));
    else
        checks.push_back(fine("NCCL", "not found; one GPU needs none"));
    std::vector<std::string> ports;
    bool down = false;
    std::error_code ignored;
    for (const auto& device : fs::directory_iterator(root + "/sys/class/infiniband", ignored)) {
        for (const auto& port : fs::directory_iterator(device.path() / "ports", ignored)) {
            const std::string state = read_kernel_file((port.path() / "state").string()).value_or("unknown");
            const std::string rate = read_kernel_file((port.path() / "rate").string()).value_or("rate unknown");
            ports.push_back(fmt::format("{}/{}: {}, {}", device.path().filename().string(),
                                        port.path().filename().string(), state, rate));
            down = down || state.find("ACTIVE") == std::string::npos;
        }
    }
    std::sort(ports.begin(), ports.end());
    if (ports.empty())
        checks.push_back(fine("RDMA", "no device; one machine needs none"));
    else if (down)
        checks.push_back(warning("RDMA", fmt::format("{}", fmt::join(ports, "; ")),
                                 "a port that is down carries nothing between machines", "ip link; check the cable"));
    else
        checks.push_back(fine("RDMA", fmt::format("{}", fmt::join(ports, "; "))));
    const std::string limits = read_kernel_file(root + "/proc/self/limits").value_or("");
    if (const auto locked = limit_of(limits, "Max locked memory")) {
        const std::string found =
            locked->hard == UINT64_MAX ? "no limit" : fmt::format("{} may be locked", describe_bytes(locked->hard));
        if (locked->hard < kEnoughLocked && !ports.empty())
            checks.push_back(warning("locked memory", found, "RDMA cannot register its buffers",
                                     "ulimit -Hl unlimited, or LimitMEMLOCK=infinity of the unit"));
        else
            checks.push_back(fine("locked memory", found));
    }
    return checks;
}

Check check_hub_cache(const std::optional<fs::path>& folder) {
    if (!folder)
        return warning("Hugging Face cache", "neither HF_HOME nor HOME is set", "models are found by folder alone",
                       "export HF_HOME=/path");
    std::error_code failure;
    if (!fs::exists(*folder, failure))
        return fine("Hugging Face cache", fmt::format("{} is not there yet", folder->string()));
    size_t models = 0;
    for (const auto& entry : fs::directory_iterator(*folder, failure))
        models += entry.path().filename().string().starts_with("models--");
    if (failure)
        return warning("Hugging Face cache", fmt::format("{}: {}", folder->string(), failure.message()),
                       "models cannot be found by name", fmt::format("chmod u+rx {}", folder->string()));
    std::string found = fmt::format("{}: {} models", folder->string(), models);
    if (const fs::space_info space = fs::space(*folder, failure); !failure)
        found += fmt::format(", {} free on its disk", describe_bytes(space.available));
    return fine("Hugging Face cache", std::move(found));
}

}  // namespace nibble::cli
