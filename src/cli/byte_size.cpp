#include "cli/byte_size.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <string>

namespace nibble::cli {

std::optional<int64_t> parse_byte_size(std::string_view text) {
    double value = 0;
    const auto [end, failure] =
        std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
    if (failure != std::errc() || !std::isfinite(value) || value < 0) return std::nullopt;
    std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
    while (unit.starts_with(' ')) unit.remove_prefix(1);

    double scale = 1;
    if (!unit.empty() && unit != "B") {
        constexpr std::string_view kLetters = "KMGT";
        const size_t power = kLetters.find(static_cast<char>(std::toupper(static_cast<unsigned char>(unit[0]))));
        if (power == std::string_view::npos) return std::nullopt;
        const std::string_view rest = unit.substr(1);
        const bool binary = rest.empty() || rest == "iB" || rest == "i";
        if (!binary && rest != "B") return std::nullopt;
        scale = std::pow(binary ? 1024.0 : 1000.0, static_cast<double>(power + 1));
    }
    const double bytes = value * scale;
    if (bytes >= 0x1p63) return std::nullopt;
    return static_cast<int64_t>(bytes);
}

}  // namespace nibble::cli
