// Flags: completes what the command line left open, from the environment, then from the file that --config names, and
// remembers where each value came from. Only this file and the verbs know CLI11.
#pragma once

#include "base/result.h"

#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
}

namespace nibble::cli {

struct Setting {
    std::string flag;    // "max-model-len", or "model" for the argument
    std::string value;   // as given; several joined by ", "; "(hidden)" for keys
    std::string origin;  // "command line", "NIBBLE_PORT", "FILE:3", "built in"
};

// Every flag of the verb in the order of its help.
struct Settings {
    std::vector<Setting> flags;
};

// Flags of `verb` that were not given are set from NIBBLE_ variables, then from --config. Errors: usage: a variable
// with our prefix that is no flag of any verb of `program`, a value that the flag refuses, a key that the verb does not
// have.
Result<Settings> complete_flags(CLI::App& program, CLI::App& verb);

// One line a setting, aligned.
std::string describe(const Settings& settings);

}  // namespace nibble::cli
