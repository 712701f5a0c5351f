#include "base/bytes.h"

#include <fmt/format.h>

namespace nibble {
inline namespace base {

std::string describe_bytes(uint64_t bytes) {
    const double value = static_cast<double>(bytes);
    if (bytes < 1024) return fmt::format("{} bytes", bytes);
    if (bytes < (1u << 20)) return fmt::format("{:.1f} KiB", value / 1024);
    if (bytes < (1u << 30)) return fmt::format("{:.1f} MiB", value / (1 << 20));
    return fmt::format("{:.2f} GiB", value / (1 << 30));
}

}  // namespace base
}  // namespace nibble
