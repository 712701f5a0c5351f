// ModulePatterns: a list of module names and patterns from a quantisation config, asked for the first that matches.
//
// Two syntaxes: modelopt's shell wildcards ('*' crosses dots), and compressed-tensors' "re:" expressions, matched from
// the start of the name. Both with bounded work: no pattern of a file can hang the loader. Immutable; any thread.
#pragma once

#include "base/result.h"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nibble::checkpoint {

// Python's fnmatch: '*', '?', [set], [!set]. At most pattern x text steps.
bool wildcard_matches(std::string_view pattern, std::string_view text);

class ModulePatterns {
public:
    enum class Syntax { wildcard, regex };
    enum class How {
        exact,
        pattern,  // a wildcard or an expression
        part,     // the entry is a part of the name: how older modelopt readers exclude (wildcard syntax only)
        failed,   // the expression gave up at its step limit: nobody knows
    };
    struct Match {
        size_t index;  // of the entry
        How how;
    };

    ModulePatterns();
    ~ModulePatterns();
    ModulePatterns(ModulePatterns&&) noexcept;
    ModulePatterns& operator=(ModulePatterns&&) noexcept;

    // where: stands in errors ("config.json: quantization_config.ignore"). Errors: model_invalid for an expression that
    // does not compile, or more than 2,048 patterns.
    static Result<ModulePatterns> parse(std::vector<std::string> entries, Syntax syntax, const std::string& where);

    // Exact names are looked at first, then patterns, then parts.
    std::optional<Match> match(std::string_view module) const;
    const std::vector<std::string>& entries() const { return entries_; }

private:
    struct Expression;
    std::vector<std::string> entries_;
    std::vector<std::pair<std::string_view, size_t>> exact_;  // sorted; views into entries_
    std::vector<size_t> wildcards_, parts_;
    std::vector<Expression> expressions_;
};

}  // namespace nibble::checkpoint
