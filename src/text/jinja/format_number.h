// Numbers as Python's % and format() write them, without the locale.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace nibble::text::jinja {

constexpr int kMaxPrecision = 1000;  // digits behind the point that a template may ask for

// Digits of |i| in base 2, 8, 10 or 16.
std::string integer_digits(int64_t i, int base, bool upper);
// |d| as type e, E, f, F, g, G with so many digits, without the sign. 0 <= precision <= kMaxPrecision.
std::string real_digits(double d, char type, int precision);
// Puts a separator between groups of digits of the integral part.
std::string grouped(std::string_view digits, char separator, int group);

}  // namespace nibble::text::jinja
