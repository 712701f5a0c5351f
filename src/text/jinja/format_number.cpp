#include "text/jinja/format_number.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace nibble::text::jinja {
namespace {

std::string to_upper_ascii(std::string s) {
    std::transform(s.begin(), s.end(), s.begin(),
                   [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
    return s;
}

}  // namespace

std::string integer_digits(int64_t i, int base, bool upper) {
    const uint64_t magnitude = i < 0 ? 0 - static_cast<uint64_t>(i) : static_cast<uint64_t>(i);
    char buffer[64];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, magnitude, base).ptr;
    std::string digits(buffer, end);
    return upper ? to_upper_ascii(digits) : digits;
}

std::string real_digits(double d, char type, int precision) {
    const bool upper = type == 'E' || type == 'F' || type == 'G';
    d = std::fabs(d);
    if (std::isnan(d) || std::isinf(d)) {
        std::string word = std::isnan(d) ? "nan" : "inf";
        return upper ? to_upper_ascii(word) : word;
    }
    const char lower = upper ? static_cast<char>(type + 32) : type;
    const auto style = lower == 'e'   ? std::chars_format::scientific
                       : lower == 'f' ? std::chars_format::fixed
                                      : std::chars_format::general;
    char buffer[kMaxPrecision + 400];  // 309 integral digits at most
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, d, style, precision).ptr;
    std::string digits(buffer, end);
    return upper ? to_upper_ascii(digits) : digits;
}

std::string grouped(std::string_view digits, char separator, int group) {
    const size_t integral = std::min(digits.find_first_of(".eE"), digits.size());
    std::string out;
    for (size_t i = 0; i < integral; i++) {
        if (i > 0 && (integral - i) % static_cast<size_t>(group) == 0) out += separator;
        out += digits[i];
    }
    return out.append(digits.substr(integral));
}

}  // namespace nibble::text::jinja
