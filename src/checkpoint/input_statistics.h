// InputStatistics: what the matrices of a model were multiplied with while it read a text. Whoever runs the model fills
// it; the quantiser weighs errors by it and writes activation scales.
#pragma once

#include "checkpoint/linear_modules.h"

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::checkpoint {

class InputStatistics {
public:
    struct Input {
        std::vector<double> square_sum;  // [K]
        float largest = 0;               // magnitude
        int64_t rows = 0;
    };
    void add(std::string_view module, std::span<const float> x);

    struct Found {
        const Input* input = nullptr;  // null: this module's input was not seen
        bool own = false;              // it is this matrix's, and not that of all experts of its layer
    };
    // Siblings that read the same input (q, k, v; gate, up) may be known by one name, a tied head by the table's.
    Found find(const LinearModule& module) const;

    // The weights of a search: the mean square of each column, their mean 1, none so small that it has no say.
    static std::vector<float> weights(const Input& input);

private:
    std::map<std::string, Input, std::less<>> by_module_;
};

// Modules that engines keep as one matrix go by the name of the first.
std::string fused_name(std::string_view module);

}  // namespace nibble::checkpoint
