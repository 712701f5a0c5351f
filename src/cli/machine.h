// Machine: what a record of a measurement must say about where it was taken: processor, its clocks and features, the
// kernel. Readers take the folder under which /proc and /sys lie. Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::cli {

struct CpuReading {
    std::string name;
    std::vector<std::string> features;    // as the kernel spells them
    std::string governor;                 // "performance", "powersave", …; empty: not told
    std::optional<double> mhz, max_mhz;   // of the first processor that tells, now and at most
    std::optional<double> temperature_c;  // the hottest zone
    std::optional<bool> throttled;        // any processor was slowed for its temperature since the start
    bool has(std::string_view feature) const;
};
CpuReading read_cpu(const std::string& root = "");

// "Linux 6.8.0 x86_64".
std::string kernel_text();

// The number after "key:" in the text of a file such as /proc/meminfo, in the file's unit.
std::optional<uint64_t> number_of_field(std::string_view text, std::string_view key);
// The words after "key" and its colon, in the first line that begins with it.
std::optional<std::string> text_of_field(std::string_view text, std::string_view key);

}  // namespace nibble::cli
