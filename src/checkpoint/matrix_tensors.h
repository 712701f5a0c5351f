// MatrixTensors: the tensors of one linear module, sorted by what they are, and the format that they make together.
//
// The rule (modelopt, compressed-tensors and DeepSeek-style names alike): codes with E4M3 block scales are NVFP4, E4M3
// codes with a float scale are FP8, float weights without a scale are plain; anything else is refused by name.
#pragma once

#include "base/result.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/weights.h"

#include <span>
#include <string>
#include <string_view>

namespace nibble::checkpoint {

struct MatrixTensors {
    const TensorEntry* weight = nullptr;               // X.weight
    const TensorEntry* weight_packed = nullptr;        // X.weight_packed
    const TensorEntry* weight_scale = nullptr;         // X.weight_scale
    const TensorEntry* weight_scale_2 = nullptr;       // X.weight_scale_2: multiplies
    const TensorEntry* weight_global_scale = nullptr;  // X.weight_global_scale: divides
    const TensorEntry* weight_scale_inv = nullptr;     // X.weight_scale_inv: multiplies, whatever its name says
    const TensorEntry* input_scale = nullptr;          // X.input_scale: multiplies
    const TensorEntry* input_global_scale = nullptr;   // X.input_global_scale: divides
    const TensorEntry* foreign = nullptr;              // a part of a format that nibble does not read

    // The tensors whose names begin with "module.".
    static MatrixTensors collect(std::string_view module, std::span<const TensorEntry* const> tensors);
    std::vector<const TensorEntry*> all() const;

    struct Kind {
        MatrixFormat format = MatrixFormat::bf16;
        const TensorEntry* codes = nullptr;
        const TensorEntry* block_scales = nullptr;
        const TensorEntry* scale = nullptr;  // one value, or for fp8_row n of them
        bool scale_divides = false;
    };
    // Errors: model_invalid naming the tensor with expected and found shape or dtype; unsupported naming the format.
    Result<Kind> decide(const std::string& folder, std::string_view module, int64_t n, int64_t k) const;
};

// "BF16 [2688, 4096]".
std::string describe(const TensorEntry& tensor);

}  // namespace nibble::checkpoint
