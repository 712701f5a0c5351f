// The environment variables that are ours: those that begin with NIBBLE_. Read once, by main; no other file reads the
// environment for flags.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace nibble::cli {

struct Variable {
    std::string name;  // NIBBLE_MAX_MODEL_LEN
    std::string value;
};

// In the order of the environment.
std::vector<Variable> nibble_variables();

// "max-model-len" -> "NIBBLE_MAX_MODEL_LEN".
std::string variable_name(std::string_view flag);

}  // namespace nibble::cli
