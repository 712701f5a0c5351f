#include "cli/environment.h"

#include <unistd.h>

namespace nibble::cli {
namespace {

constexpr std::string_view kPrefix = "NIBBLE_";

}  // namespace

std::vector<Variable> nibble_variables() {
    std::vector<Variable> variables;
    if (environ == nullptr) return variables;
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const std::string_view text = *entry;
        if (!text.starts_with(kPrefix)) continue;
        const size_t equals = text.find('=');
        if (equals == std::string_view::npos) continue;
        variables.push_back({std::string(text.substr(0, equals)), std::string(text.substr(equals + 1))});
    }
    return variables;
}

std::string variable_name(std::string_view flag) {
    std::string name(kPrefix);
    for (const char c : flag) name += c == '-' ? '_' : c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    return name;
}

}  // namespace nibble::cli
