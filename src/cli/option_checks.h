// Checks of flags' values, worded once. Includes CLI11: for the files of verbs.
#pragma once

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace nibble::cli {

// The bounds stand in the error, not in the help. What is no number (NaN) is in no range.
template <class T>
CLI::Validator in_range(T min, T max) {
    const auto check = [min, max](const std::string& text) -> std::string {
        T value;
        if (CLI::detail::lexical_cast(text, value) && value >= min && value <= max) return "";
        return fmt::format("Value {} not in range {} to {}", text, min, max);
    };
    return CLI::Validator(check, "");
}

inline CLI::Validator one_of(std::vector<std::string> names) {
    return CLI::IsMember(std::move(names)).description("");
}

inline CLI::Validator existing_file() {
    return CLI::Validator(CLI::ExistingFile).description("");
}

}  // namespace nibble::cli
