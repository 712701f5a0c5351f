// Weights: a model's way to its tensors. Each is asked for by name with the shape that the model expects; what nobody
// asked for is found at the end. Thus every tensor of a checkpoint is accounted for.
//
// Name aliases: a prefix map (backbone. <-> model., language_model.) is tried, so a model names a tensor one way. Any
// thread may ask and read.
#pragma once

#include "base/result.h"
#include "checkpoint/checkpoint.h"

#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
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
    const TensorEntry* block_scales = nullptr;  // nvfp4: [n, k/16] E4M3; fp8_block: one per 128 x 128, f32 or bf16
    float scale = 1.0f;            // multiplies: modelopt's weight_scale_2, 1 / weight_global_scale, FP8 scale
    float input_scale = 0.0f;      // multiplies; 0: none, or meant for another activation format (weight-only claims)
    std::vector<float> row_scale;  // fp8_row: [n]
    uint64_t stored_bytes = 0;     // all its tensors
    Claim claim;                   // what the configs say
};

// Bytes of one row as read_rows delivers it: codes (f16 as f32), and NVFP4 block scales (else 0).
int64_t matrix_row_bytes(const Matrix& matrix);
int64_t matrix_row_scale_bytes(const Matrix& matrix);

class Weights {
public:
    // aliases: (prefix as the model names it, prefix as the checkpoint may have it), tried in order, then backwards.
    explicit Weights(std::shared_ptr<const Checkpoint> checkpoint,
                     std::vector<std::pair<std::string, std::string>> aliases = {});

    const Checkpoint& checkpoint() const { return *checkpoint_; }

    // The matrix of a module ("backbone.layers.0.mixer.in_proj"), its format decided by the tensors present and checked
    // against the claim. With headers only, scales are left at 1; without headers the claim alone gives the format, and
    // the entries are null. Errors: model_invalid naming tensor, expected and found shape or dtype, or a config entry
    // that contradicts the tensors; unsupported for a format nibble does not read (MXFP4, pre_quant_scale, …).
    Result<Matrix> matrix(std::string_view module, int64_t n, int64_t k);
    bool has_matrix(std::string_view module) const;  // without headers: true

    // A plain tensor (bf16, f16, f32) as float32 values, all finite. [] and [1] are one shape. With headers only:
    // zeros.
    Result<std::vector<float>> values(std::string_view tensor, std::initializer_list<int64_t> shape);
    bool has(std::string_view tensor) const;
    // A tensor's entry, its shape checked, marked as used: for who reads its bytes himself, or only needs the header.
    // Null when the folder has no tensor headers.
    Result<const TensorEntry*> tensor(std::string_view name, std::initializer_list<int64_t> shape);

    // Rows [row, row + rows) of a matrix: codes as stored (f16 is delivered as f32), block scales for nvfp4 (else
    // null). A value that is not finite, or an NVFP4 block scale with a sign, is an error (model_invalid). Any thread.
    Result<void> read_rows(const Matrix& matrix, int64_t row, int64_t rows, std::byte* codes, std::byte* scales) const;
    // fp8_block: the scales as float32, [ceil(n / 128), ceil(k / 128)], finite and positive.
    Result<std::vector<float>> block_scale_values(const Matrix& matrix) const;

    // Marks tensors as known and unused (mtp.*, vision towers): a pattern with '*', of the checkpoint's names.
    void ignore(std::string_view pattern);
    // After all were asked for: model_invalid naming the first surplus tensors, if any.
    Result<void> all_accounted_for() const;

private:
    // The name under which the checkpoint has it: as given, or by an alias; nothing when under none.
    template <class Present>
    std::optional<std::string> resolve(std::string_view name, Present&& present) const;
    std::optional<std::string> resolve_module(std::string_view module) const;
    const TensorEntry* find(std::string_view tensor) const;
    void mark(const TensorEntry* tensor);
    Claim claim(std::string_view module) const;
    Result<Matrix> matrix_by_claim(std::string_view module, int64_t n, int64_t k) const;

    std::shared_ptr<const Checkpoint> checkpoint_;
    std::vector<std::pair<std::string, std::string>> aliases_;
    mutable std::mutex mutex_;  // of the two below
    std::set<const TensorEntry*> used_;
    std::vector<std::string> ignored_;
};

}  // namespace nibble::checkpoint
