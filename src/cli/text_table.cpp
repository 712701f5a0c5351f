#include "cli/text_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace nibble::cli {
namespace {

// Characters, not bytes.
size_t width_of(std::string_view text) {
    return static_cast<size_t>(std::count_if(text.begin(), text.end(),
                                             [](char c) { return (static_cast<unsigned char>(c) & 0xC0u) != 0x80u; }));
}

std::string three_figures(double value) {
    const double size = std::abs(value);
    if (size >= 99.95) return grouped(value);
    return fmt::format("{:.{}f}", value, size >= 9.995 ? 1 : 2);
}

}  // namespace

std::string TextTable::text(size_t indent) const {
    std::vector<size_t> widths(alignment_.size());
    for (const auto& row : rows_)
        for (size_t i = 0; i < std::min(row.size(), widths.size()); ++i)
            widths[i] = std::max(widths[i], width_of(row[i]));
    std::string text;
    for (const auto& row : rows_) {
        std::string line(indent, ' ');
        for (size_t i = 0; i < std::min(row.size(), widths.size()); ++i) {
            const std::string blanks(widths[i] - width_of(row[i]), ' ');
            if (i > 0) line += "  ";
            line += alignment_[i] == '>' ? blanks + row[i] : row[i] + blanks;
        }
        line.erase(line.find_last_not_of(' ') + 1);
        text += line + "\n";
    }
    return text;
}

std::string grouped(double value) {
    std::string digits = fmt::format("{:.0f}", std::abs(value));
    for (size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
    return value < 0 && digits != "0" ? "-" + digits : digits;
}

std::string megabytes(double bytes) {
    return bytes == 0 ? "0" : three_figures(bytes / 1e6);
}

std::string decimal_bytes(double bytes) {
    if (std::abs(bytes) < 999.5e6) return three_figures(bytes / 1e6) + " MB";
    return three_figures(bytes / 1e9) + " GB";
}

std::string per_second(double value) {
    return value < 9.95 ? fmt::format("{:.1f}", value) : grouped(value);
}

}  // namespace nibble::cli
