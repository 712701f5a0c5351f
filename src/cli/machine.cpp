#include "cli/machine.h"

#include "base/host.h"

#include <fmt/format.h>
#include <sys/utsname.h>

#include <algorithm>
#include <charconv>

namespace nibble::cli {
namespace {

constexpr std::string_view kBlanks = " \t";

std::string_view trimmed(std::string_view text) {
    text.remove_prefix(std::min(text.find_first_not_of(kBlanks), text.size()));
    text.remove_suffix(text.size() - (text.find_last_not_of(kBlanks) + 1));
    return text;
}

std::optional<double> number_in(const std::string& path) {
    const auto text = read_kernel_file(path);
    if (!text) return std::nullopt;
    double value = 0;
    const auto [end, failure] = std::from_chars(text->data(), text->data() + text->size(), value);
    if (failure != std::errc() || end == text->data()) return std::nullopt;
    return value;
}

std::vector<std::string> words(std::string_view text) {
    std::vector<std::string> list;
    while (!(text = trimmed(text)).empty()) {
        const size_t end = std::min(text.find_first_of(kBlanks), text.size());
        list.emplace_back(text.substr(0, end));
        text.remove_prefix(end);
    }
    return list;
}

}  // namespace

bool CpuReading::has(std::string_view feature) const {
    return std::find(features.begin(), features.end(), feature) != features.end();
}

std::optional<std::string> text_of_field(std::string_view text, std::string_view key) {
    while (!text.empty()) {
        const size_t end = std::min(text.find('\n'), text.size());
        std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (!line.starts_with(key)) continue;
        line.remove_prefix(key.size());
        line = trimmed(line);
        if (!line.starts_with(':')) continue;
        return std::string(trimmed(line.substr(1)));
    }
    return std::nullopt;
}

std::optional<uint64_t> number_of_field(std::string_view text, std::string_view key) {
    const auto found = text_of_field(text, key);
    if (!found) return std::nullopt;
    uint64_t value = 0;
    const auto [end, failure] = std::from_chars(found->data(), found->data() + found->size(), value);
    if (failure != std::errc() || end == found->data()) return std::nullopt;
    return value;
}

CpuReading read_cpu(const std::string& root) {
    CpuReading reading;
    const std::string info = read_kernel_file(root + "/proc/cpuinfo").value_or("");
    for (const char* key : {"model name", "Model", "cpu model", "uarch"})
        if (reading.name.empty()) reading.name = text_of_field(info, key).value_or("");
    for (const char* key : {"flags", "Features"})
        if (reading.features.empty()) reading.features = words(text_of_field(info, key).value_or(""));
    for (const int cpu : read_processors(root).order) {
        const std::string folder = fmt::format("{}/sys/devices/system/cpu/cpu{}/", root, cpu);
        if (reading.governor.empty())
            reading.governor = read_kernel_file(folder + "cpufreq/scaling_governor").value_or("");
        if (!reading.mhz)
            if (const auto khz = number_in(folder + "cpufreq/scaling_cur_freq")) reading.mhz = *khz / 1e3;
        if (!reading.max_mhz)
            if (const auto khz = number_in(folder + "cpufreq/cpuinfo_max_freq")) reading.max_mhz = *khz / 1e3;
        if (const auto times = number_in(folder + "thermal_throttle/core_throttle_count"))
            reading.throttled = reading.throttled.value_or(false) || *times > 0;
    }
    if (!reading.mhz)
        if (const auto text = text_of_field(info, "cpu MHz")) {
            double mhz = 0;
            if (std::from_chars(text->data(), text->data() + text->size(), mhz).ec == std::errc() && mhz > 0)
                reading.mhz = mhz;
        }
    for (int zone = 0; zone < 64; ++zone) {
        const auto thousandths = number_in(fmt::format("{}/sys/class/thermal/thermal_zone{}/temp", root, zone));
        if (!thousandths) break;
        const double degrees = *thousandths / 1e3;
        if (degrees > 0 && degrees < 200) reading.temperature_c = std::max(reading.temperature_c.value_or(0), degrees);
    }
    return reading;
}

std::string kernel_text() {
    utsname system;
    if (uname(&system) != 0) return "";
    return fmt::format("{} {} {}", system.sysname, system.release, system.machine);
}

}  // namespace nibble::cli
