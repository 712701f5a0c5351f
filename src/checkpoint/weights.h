// Weights: a model's way to its tensors. Each is asked for by name with the shape that the model expects; what nobody
// asked for is found at the end. Thus every tensor of a checkpoint is accounted for.
//
// Name aliases: a prefix map (backbone. <-> model., language_model.) is tried, so a model names a tensor one way.
#pragma once

#include "base/result.h"
#include "checkpoint/checkpoint.h"

#include <functional>
#include <initializer_list>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::checkpoint {

enum class MatrixFormat { f32, f16, bf16, fp8_tensor, fp8_row, fp8_block, nvfp4 };
std::string_view name(MatrixFormat format);

// One matrix [n, k] as the checkpoint stores it.
struct Matrix {
    std::string module;  // as in the checkpoint, without ".weight"
    MatrixFormat format = MatrixFormat::bf16;
    int64_t n = 0, k = 0;
    const TensorEntry* codes = nullptr;         // X.weight or X.weight_packed
    const TensorEntry* block_scales = nullptr;  // nvfp4: [n, k/16] E4M3; fp8_block: as stored
    float scale = 1.0f;                         // multiplies: modelopt's weight_scale_2, 1 / weight_global_scale, FP8 scale
    float input_scale = 0.0f;                   // 0: none
    std::vector<float> row_scale;               // fp8_row
    uint64_t stored_bytes = 0;                  // all its tensors
    Claim claim;                                // what the configs say
};

class Weights {
public:
    explicit Weights(std::shared_ptr<const Checkpoint> checkpoint, std::vector<std::pair<std::string, std::string>> aliases = {});

    const Checkpoint& checkpoint() const { return *checkpoint_; }

    // The matrix of a module ("backbone.layers.0.mixer.in_proj"), its format decided by the tensors present and checked
    // against the claim. With headers only, scales are left at 1. Errors: model_invalid naming tensor, expected and
    // found shape or dtype; unsupported for a format nibble does not read (MXFP4, pre_quant_scale, …).
    Result<Matrix> matrix(std::string_view module, int64_t n, int64_t k);
    bool has_matrix(std::string_view module) const;

    // A plain tensor (bf16, f16, f32) as float32 values.
    Result<std::vector<float>> values(std::string_view tensor, std::initializer_list<int64_t> shape);
    bool has(std::string_view tensor) const;
    // A tensor's entry, its shape checked, marked as used: for who reads its bytes himself, or only needs the header.
    // Null when the folder has no tensor headers.
    Result<const TensorEntry*> tensor(std::string_view name, std::initializer_list<int64_t> shape);

    // Rows [row, row + rows) of a matrix: codes as stored (f16 is delivered as f32: matrix_row_bytes says the width),
    // block scales for nvfp4. Any thread.
    Result<void> read_rows(const Matrix& matrix, int64_t row, int64_t rows, std::byte* codes, std::byte* scales) const;

    // Marks tensors as known and unused (mtp.*, vision towers): a pattern with '*'.
    void ignore(std::string_view pattern);
    // After all were asked for: model_invalid naming the first surplus tensors, if any.
    Result<void> all_accounted_for() const;

private:
    const TensorEntry* find_and_mark(std::string_view name);
    std::shared_ptr<const Checkpoint> checkpoint_;
    std::vector<std::pair<std::string, std::string>> aliases_;
    mutable std::mutex mutex_;
    std::set<const TensorEntry*> used_;
    std::vector<std::string> ignored_;
};

}  // namespace nibble::checkpoint
