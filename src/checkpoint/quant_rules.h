// QuantRules: which module gets which encoding: a scheme, and what is said of one role beside it.
//
//   all-nvfp4         every linear module of the text model, the head too
//   nvidia-nano       as Nemotron 3 Nano NVFP4: MLPs, experts and Mamba in NVFP4; attention, the Mamba layer before
//                     each attention layer, and the head stay
//   nvidia-lightning  as Nemotron 3.5 Lightning NVFP4: MLPs, experts and head in NVFP4, Mamba in FP8, attention stays
//   a file            lines "PATTERN nvfp4|fp8|keep" ('*' crosses dots, '#' begins a comment); the first that matches
//                     a module counts, what no line matches stays
#pragma once

#include "base/result.h"
#include "checkpoint/linear_modules.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::checkpoint {

enum class Encoding : uint8_t { keep, nvfp4, fp8 };
std::string_view name(Encoding encoding);
Result<Encoding> parse_encoding(std::string_view text, std::string_view where);

class QuantRules {
public:
    struct Choices {
        std::string scheme;  // a name of above, a file, or empty: only what follows
        std::optional<Encoding> head, attention, mamba;
    };
    // Errors: usage for an unknown scheme that is no file either, model_invalid naming file and line.
    static Result<QuantRules> make(const Choices& choices);

    struct Assignment {
        std::vector<Encoding> encodings;   // as the modules
        std::vector<std::string> remarks;  // modules that a rule means and that stay, with the reason
    };
    // Errors: model_invalid when a rule matches no module, a matrix that a rule means is quantised already, cannot be
    // quantised, or is named and has columns that no group of 16 divides; when nothing at all is to be done.
    Result<Assignment> assign(const std::vector<LinearModule>& modules) const;

private:
    struct Line {
        std::string pattern, where;
        Encoding encoding = Encoding::keep;
    };
    Result<Encoding> of_scheme(const LinearModule& module, const std::vector<LinearModule>& modules,
                               std::vector<bool>& used) const;

    Choices choices_;
    std::vector<Line> lines_;  // of a file
};

}  // namespace nibble::checkpoint
