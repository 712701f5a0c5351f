// ConfigFile: flags written in YAML, one key a flag. yaml-cpp is used in config_file.cpp alone.
#pragma once

#include "base/result.h"

#include <filesystem>
#include <string>
#include <vector>

namespace nibble::cli {

struct ConfigEntry {
    std::string flag;                 // "max-model-len"; '_' has become '-'
    std::vector<std::string> values;  // one, or those of a list; none for null
    int line = 0;
};

// Errors: usage, with file and line: not a mapping, a value that is neither a scalar nor a list of scalars, a key
// twice.
Result<std::vector<ConfigEntry>> read_config_file(const std::filesystem::path& path);

}  // namespace nibble::cli
