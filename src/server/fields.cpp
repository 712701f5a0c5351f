#include "server/fields.h"

#include "base/in_quotes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace nibble::server {
namespace {

constexpr double kExactIntegers = 9007199254740992.0;  // 2^53

std::string range_text(double min, double max) {
    if (std::isinf(max)) return fmt::format("at least {}", min);
    return fmt::format("in [{}, {}]", min, max);
}

}  // namespace

std::string describe(const text::Value& value) {
    if (value.is_none() || value.is_undefined()) return "null";
    if (value.is_bool()) return value.as_bool() ? "true" : "false";
    if (value.is_int()) return fmt::format("{}", value.as_int());
    if (value.is_float()) return fmt::format("{}", value.as_float());
    if (value.is_string()) return fmt::format("the string {}", in_quotes(value.as_string(), 40));
    if (value.is_array()) return fmt::format("a list of {}", value.as_array().size());
    return "an object";
}

std::optional<int64_t> integral(const text::Value& value) {
    if (value.is_int()) return value.as_int();
    if (value.is_float()) {
        const double number = value.as_float();
        if (std::floor(number) == number && std::fabs(number) <= kExactIntegers) return static_cast<int64_t>(number);
    }
    return std::nullopt;
}

std::string Fields::path_of(std::string_view name) const {
    return path_.empty() ? std::string(name) : fmt::format("{}.{}", path_, name);
}

void Fields::fail(std::string_view name, std::string message) {
    if (error_) return;
    std::string path = path_of(name);
    error_ = Error{ErrorCode::invalid_request, fmt::format("{}: {}", path, message), std::move(path)};
}

void Fields::fail(Error error) {
    if (!error_) error_ = std::move(error);
}

void Fields::unsupported(std::string_view name, std::string_view why) {
    if (error_) return;
    std::string path = path_of(name);
    error_ = Error{ErrorCode::unsupported, fmt::format("{}: {}", path, why), std::move(path)};
}

void Fields::without_effect(std::string_view name) {
    if (any(name)) ignored_.push_back(name);
}

const text::Value* Fields::any(std::string_view name) {
    asked_.push_back(name);
    const text::Value* value = object_.find(name);
    return value && !value->is_none() ? value : nullptr;
}

std::optional<double> Fields::number(std::string_view name, double min, double max) {
    const text::Value* value = any(name);
    if (!value) return std::nullopt;
    double number = std::nan("");
    if (value->is_int()) number = static_cast<double>(value->as_int());
    if (value->is_float()) number = value->as_float();
    if (number >= min && number <= max && std::isfinite(number)) return number;
    fail(name, fmt::format("expected a number {}, found {}", range_text(min, max), describe(*value)));
    return std::nullopt;
}

std::optional<int64_t> Fields::integer(std::string_view name, int64_t min, int64_t max) {
    const text::Value* value = any(name);
    if (!value) return std::nullopt;
    const auto number = integral(*value);
    if (number && *number >= min && *number <= max) return number;
    fail(name, fmt::format("expected an integer in [{}, {}], found {}", min, max, describe(*value)));
    return std::nullopt;
}

std::optional<bool> Fields::boolean(std::string_view name) {
    const text::Value* value = any(name);
    if (!value) return std::nullopt;
    if (value->is_bool()) return value->as_bool();
    fail(name, fmt::format("expected true or false, found {}", describe(*value)));
    return std::nullopt;
}

std::optional<std::string_view> Fields::string(std::string_view name, size_t max_bytes) {
    const text::Value* value = any(name);
    if (!value) return std::nullopt;
    if (!value->is_string()) {
        fail(name, fmt::format("expected a string, found {}", describe(*value)));
        return std::nullopt;
    }
    if (value->as_string().size() > max_bytes) {
        fail(name, fmt::format("expected a string of at most {} bytes, found {} bytes", max_bytes,
                               value->as_string().size()));
        return std::nullopt;
    }
    return value->as_string();
}

const text::Array* Fields::array(std::string_view name, size_t max_items) {
    const text::Value* value = any(name);
    if (!value) return nullptr;
    if (!value->is_array()) {
        fail(name, fmt::format("expected a list, found {}", describe(*value)));
        return nullptr;
    }
    if (value->as_array().size() > max_items) {
        fail(name, fmt::format("expected a list of at most {}, found {}", max_items, value->as_array().size()));
        return nullptr;
    }
    return &value->as_array();
}

const text::Object* Fields::object(std::string_view name) {
    const text::Value* value = any(name);
    if (!value) return nullptr;
    if (value->is_object()) return &value->as_object();
    fail(name, fmt::format("expected an object, found {}", describe(*value)));
    return nullptr;
}

std::vector<std::string_view> Fields::unknown() const {
    std::vector<std::string_view> asked = asked_;
    std::sort(asked.begin(), asked.end());
    std::vector<std::string_view> out;
    for (const auto& [name, value] : object_.entries())
        if (!std::binary_search(asked.begin(), asked.end(), name)) out.push_back(name);
    return out;
}

}  // namespace nibble::server
