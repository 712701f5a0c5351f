// Checks of flags' values, worded once. Includes CLI11: for the files of verbs.
#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace nibble::cli {

// The bounds stand in the error, not in the help.
template <class T>
CLI::Validator in_range(T min, T max) {
    return CLI::Range(min, max).description("");
}

inline CLI::Validator one_of(std::vector<std::string> names) {
    return CLI::IsMember(std::move(names)).description("");
}

inline CLI::Validator existing_file() {
    return CLI::Validator(CLI::ExistingFile).description("");
}

}  // namespace nibble::cli
