#include "cli/memory_guard.h"

#include "base/bytes.h"
#include "base/host.h"
#include "device/host_memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <system_error>

namespace nibble::cli {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int kOomScore = 500;  // of 1000; the shells and daemons of a host are at or below 0

// The number after "key=" in the line that begins with `line`, as in "full avg10=0.00 avg60=…".
std::optional<double> pressure_field(std::string_view text, std::string_view line, std::string_view key) {
    while (!text.empty()) {
        const size_t end = std::min(text.find('\n'), text.size());
        const std::string_view row = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (!row.starts_with(line)) continue;
        const size_t at = row.find(key);
        if (at == std::string_view::npos) return std::nullopt;
        double value = 0;
        const char* from = row.data() + at + key.size();
        const auto [last, failure] = std::from_chars(from, row.data() + row.size(), value);
        if (failure != std::errc() || last == from || !(value >= 0 && value <= 100)) return std::nullopt;
        return value;
    }
    return std::nullopt;
}

}  // namespace

Result<MemoryPressure> read_memory_pressure(const std::string& root) {
    const auto meminfo = read_kernel_file(root + "/proc/meminfo");
    if (!meminfo) return error(ErrorCode::device_unusable, "{}/proc/meminfo cannot be read", root);
    MemoryPressure pressure;
    TRY(pressure.memory, device::host_memory(*meminfo, read_cgroup_limits(root)));
    const std::string stalls = read_kernel_file(root + "/proc/pressure/memory").value_or("");
    pressure.stall_percent = pressure_field(stalls, "full ", "avg10=").value_or(0);
    return pressure;
}

GuardLimits guard_limits(int64_t total_bytes) {
    // All below the 8 % that the plan leaves to the host, or a server would begin closed.
    return {.shed_below_bytes = std::min(4 * kGiB, total_bytes / 100 * 3),
            .close_below_bytes = std::min(8 * kGiB, total_bytes / 100 * 6),
            .open_above_bytes = std::min(9 * kGiB, total_bytes / 100 * 7)};
}

Admittance GuardPolicy::next(const MemoryPressure& now) {
    const int64_t available = now.memory.available_bytes;
    Admittance wanted = Admittance::open;
    if (available < limits_.open_above_bytes || now.stall_percent > limits_.open_stall_percent)
        wanted = std::min(state_, Admittance::closed);  // between the limits: no better than it was
    if (available < limits_.close_below_bytes || now.stall_percent > limits_.close_stall_percent)
        wanted = Admittance::closed;
    if (available < limits_.shed_below_bytes || now.stall_percent > limits_.shed_stall_percent)
        wanted = Admittance::shedding;
    if (wanted >= state_) {
        state_ = wanted;
        calm_ = 0;
    } else if (++calm_ >= limits_.calm_readings) {
        state_ = state_ == Admittance::shedding ? Admittance::closed : wanted;
        calm_ = 0;
    }
    return state_;
}

std::string describe(const MemoryPressure& pressure) {
    std::string text =
        fmt::format("{} of {} are available", describe_bytes(static_cast<uint64_t>(pressure.memory.available_bytes)),
                    describe_bytes(static_cast<uint64_t>(pressure.memory.total_bytes)));
    if (pressure.stall_percent > 0)
        text += fmt::format(", and all tasks waited for memory for {:.0f} % of the last 10 s", pressure.stall_percent);
    return text;
}

Result<std::unique_ptr<MemoryGuard>> MemoryGuard::start(Options options) {
    TRY(const MemoryPressure first, read_memory_pressure(options.root));
    std::unique_ptr<MemoryGuard> guard(new MemoryGuard(std::move(options)));
    const GuardPolicy policy(guard_limits(first.memory.total_bytes));
    try {
        guard->thread_ = std::thread([watched = guard.get(), policy] { watched->watch(policy); });
    } catch (const std::system_error& failure) {
        return error(ErrorCode::io, "the thread that watches memory cannot be started: {}", failure.what());
    }
    return guard;
}

MemoryGuard::~MemoryGuard() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_one();
    if (thread_.joinable()) thread_.join();
}

void MemoryGuard::watch(GuardPolicy policy) {
    pthread_setname_np(pthread_self(), "nibble-memory");
    bool failing = false;
    const auto again = std::chrono::seconds(1) / options_.period;
    for (int64_t since = 0;;) {
        const Admittance before = policy.state();
        if (auto pressure = read_memory_pressure(options_.root)) {
            failing = false;
            const Admittance now = policy.next(*pressure);
            ++since;
            if (options_.on_change && (now != before || (now == Admittance::shedding && since >= again))) {
                options_.on_change(now, *pressure);
                since = 0;
            }
        } else if (!std::exchange(failing, true) && options_.on_error) {
            options_.on_error(pressure.error());
        }
        std::unique_lock lock(mutex_);
        if (wake_.wait_for(lock, options_.period, [this] { return stopping_; })) return;
    }
}

bool prefer_for_oom_kill(const std::string& root) {
    const std::string path = root + "/proc/self/oom_score_adj";
    const std::string now = read_kernel_file(path).value_or("");
    int score = 0;
    std::from_chars(now.data(), now.data() + now.size(), score);
    if (score > 0) return true;  // somebody chose it
    const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0) return false;
    const std::string text = std::to_string(kOomScore);
    const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    ::close(fd);
    return written;
}

}  // namespace nibble::cli
