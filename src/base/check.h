// CHECK(condition, "format {}", ...): our own mistake. Prints message and place, and aborts: a restart is honest.
// Never for anything that a file, flag, request or device can cause (base/result.h).
#pragma once

#include <fmt/core.h>

#include <source_location>
#include <string>
#include <utility>

namespace nibble {
inline namespace base {

[[noreturn]] void check_failed(const char* condition, std::source_location where, const std::string& message);

// What the process was doing, printed by a failing CHECK (the engine sets its step's plan). Call from one thread.
void set_crash_context(std::string (*describe)());

inline std::string check_message() {
    return {};
}
template <class... Args>
std::string check_message(fmt::format_string<Args...> format, Args&&... args) {
    return fmt::format(format, std::forward<Args>(args)...);
}

}  // namespace base
}  // namespace nibble

#define CHECK(condition, ...)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) [[unlikely]]                                                                                 \
            ::nibble::check_failed(#condition, std::source_location::current(), ::nibble::check_message(__VA_ARGS__)); \
    } while (false)
