// Result<T>: a value, or an Error worded for the person who can mend it.
//
// Someone else's mistake (file, config, flag, request, template, memory at start) is a Result; our own mistake is a
// CHECK (base/check.h); what is nobody's mistake (queue full, cancelled) is an ordinary value of the type concerned.
// The shape is that of std::expected (C++23), which g++ 12 does not have in C++20.
#pragma once

#include <fmt/core.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace nibble {
inline namespace base {

enum class ErrorCode {
    internal,         // a mistake of ours that could be reported instead of aborting
    usage,            // a flag or argument of the command line
    invalid_request,  // a field of a request; Error::param names it
    not_found,        // no such model, route, file
    model_invalid,    // a checkpoint, config, tokenizer or template that contradicts itself or is damaged
    unsupported,      // well-formed, but nibble cannot run it
    does_not_fit,     // memory: the message carries the sum
    device_unusable,  // no GPU, wrong architecture, old driver
    address_in_use,   // port or socket path
    gate_failed,      // a quality or performance gate was missed
    peer_failed,      // another rank or the fabric
    overloaded,       // queue full: try again later
    unavailable,      // loading or draining
    cancelled,        // the client went away
    io,               // the operating system refused a read or write
};

struct [[nodiscard]] Error {
    ErrorCode code = ErrorCode::internal;
    std::string message;
    std::string param = {};  // the field of the request or config at fault, when one is
};

// The two only translations of a code.
int exit_code(ErrorCode code);    // docs/cli.md, "Exit codes"
int http_status(ErrorCode code);  // docs/serving.md, "Errors"
std::string_view code_name(ErrorCode code);

template <class... Args>
Error error(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
    return Error{code, fmt::format(format, std::forward<Args>(args)...)};
}

template <class T>
class [[nodiscard]] Result {
public:
    using value_type = T;
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Result(Error failure) : state_(std::in_place_index<1>, std::move(failure)) {}

    bool has_value() const { return state_.index() == 0; }
    explicit operator bool() const { return has_value(); }

    T& operator*() & { return *std::get_if<0>(&state_); }
    const T& operator*() const& { return *std::get_if<0>(&state_); }
    T&& operator*() && { return std::move(*std::get_if<0>(&state_)); }
    T* operator->() { return std::get_if<0>(&state_); }
    const T* operator->() const { return std::get_if<0>(&state_); }

    Error& error() & { return *std::get_if<1>(&state_); }
    const Error& error() const& { return *std::get_if<1>(&state_); }
    Error&& error() && { return std::move(*std::get_if<1>(&state_)); }

    T value_or(T other) && { return has_value() ? std::move(**this) : std::move(other); }

private:
    std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
public:
    using value_type = void;
    Result() = default;
    Result(Error failure) : error_(std::move(failure)) {}

    bool has_value() const { return !error_.has_value(); }
    explicit operator bool() const { return has_value(); }
    Error& error() & { return *error_; }
    const Error& error() const& { return *error_; }
    Error&& error() && { return std::move(*error_); }

private:
    std::optional<Error> error_;
};

}  // namespace base
}  // namespace nibble

#define NIBBLE_CONCAT_INNER(a, b) a##b
#define NIBBLE_CONCAT(a, b) NIBBLE_CONCAT_INNER(a, b)

// TRY(auto x, f());  TRY(x, f());  returns the error of f() from the enclosing function, else binds the value.
#define TRY(target, expression) NIBBLE_TRY(NIBBLE_CONCAT(try_result_, __COUNTER__), target, expression)
#define NIBBLE_TRY(name, target, expression)                    \
    auto name = (expression);                                   \
    if (!name) return ::nibble::Error(std::move(name).error()); \
    target = *std::move(name)

// TRY_VOID(f());  the same for Result<void>.
#define TRY_VOID(expression)                                                              \
    do {                                                                                  \
        auto try_void_result = (expression);                                              \
        if (!try_void_result) return ::nibble::Error(std::move(try_void_result).error()); \
    } while (false)
