// Byte counts: how they are worded for people (GiB, binary), and arithmetic that cannot overflow unnoticed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace nibble {
inline namespace base {

// "312 bytes", "4.0 KiB", "18.01 GiB".
std::string describe_bytes(uint64_t bytes);

// Nothing when the result does not fit. For sizes that come from a file or a request.
template <class T>
std::optional<T> checked_add(T a, T b) {
    T sum;
    if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
    return sum;
}
template <class T>
std::optional<T> checked_multiply(T a, T b) {
    T product;
    if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
    return product;
}

}  // namespace base
}  // namespace nibble
