#include "checkpoint/weights.h"

#include "base/check.h"
#include "base/in_quotes.h"
#include "checkpoint/float_values.h"
#include "checkpoint/matrix_tensors.h"
#include "checkpoint/module_patterns.h"
#include "numeric/nvfp4.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <optional>

namespace nibble::checkpoint {
namespace {

using numeric::DType;

bool agrees(ClaimedFormat claimed, MatrixFormat found, int64_t n, int64_t k) {
    switch (claimed) {
        case ClaimedFormat::none:
            return true;
        case ClaimedFormat::unquantized:
            return found == MatrixFormat::bf16 || found == MatrixFormat::f16 || found == MatrixFormat::f32;
        case ClaimedFormat::nvfp4:
        case ClaimedFormat::nvfp4_w4a16:
            return found == MatrixFormat::nvfp4;
        case ClaimedFormat::fp8:
            return found == MatrixFormat::fp8_tensor;
        case ClaimedFormat::fp8_per_channel:  // of one row, or one block, there is one scale
            return found == MatrixFormat::fp8_row || (found == MatrixFormat::fp8_tensor && n == 1);
        case ClaimedFormat::fp8_block:
            return found == MatrixFormat::fp8_block || (found == MatrixFormat::fp8_tensor && n <= 128 && k <= 128);
        case ClaimedFormat::mxfp4:
        case ClaimedFormat::mxfp8:
        case ClaimedFormat::other:
            return false;
    }
    return false;
}

Result<std::vector<float>> read_floats(const Checkpoint& checkpoint, const TensorEntry& tensor) {
    std::vector<std::byte> bytes(tensor.bytes);
    TRY_VOID(checkpoint.read(tensor, 0, bytes));
    return to_floats(tensor.dtype, bytes);
}

Error bad_value(const Checkpoint& checkpoint, const TensorEntry& tensor, std::string_view expected, std::string found) {
    return error(ErrorCode::model_invalid, "{}: tensor {}: expected {}, found {}",
                 checkpoint.folder().string(checkpoint.files()[static_cast<size_t>(tensor.file)]),
                 in_quotes(tensor.name), expected, found);
}

Result<std::vector<float>> read_scales(const Checkpoint& checkpoint, const TensorEntry& tensor) {
    TRY(auto scales, read_floats(checkpoint, tensor));
    for (const float scale : scales)
        if (!(std::isfinite(scale) && scale > 0))
            return bad_value(checkpoint, tensor, "a positive scale", fmt::format("{}", scale));
    return scales;
}

// A scale that multiplies, from one that may divide.
Result<float> read_one_scale(const Checkpoint& checkpoint, const TensorEntry& tensor, bool divides) {
    TRY(const auto scales, read_scales(checkpoint, tensor));
    const float scale = divides ? 1.0f / scales[0] : scales[0];
    if (!(std::isfinite(scale) && scale > 0))
        return bad_value(checkpoint, tensor, "a scale with a finite inverse", fmt::format("{}", scales[0]));
    return scale;
}

}  // namespace

std::string_view name(MatrixFormat format) {
    switch (format) {
        case MatrixFormat::f32:
            return "F32";
        case MatrixFormat::f16:
            return "F16";
        case MatrixFormat::bf16:
            return "BF16";
        case MatrixFormat::fp8_tensor:
            return "FP8";
        case MatrixFormat::fp8_row:
            return "FP8 per channel";
        case MatrixFormat::fp8_block:
            return "FP8 per block";
        case MatrixFormat::nvfp4:
            return "NVFP4";
    }
    return "?";
}

int64_t matrix_row_bytes(const Matrix& matrix) {
    switch (matrix.format) {
        case MatrixFormat::f32:
        case MatrixFormat::f16:
            return matrix.k * 4;
        case MatrixFormat::bf16:
            return matrix.k * 2;
        case MatrixFormat::fp8_tensor:
        case MatrixFormat::fp8_row:
        case MatrixFormat::fp8_block:
            return matrix.k;
        case MatrixFormat::nvfp4:
            return matrix.k / 2;
    }
    return 0;
}

int64_t matrix_row_scale_bytes(const Matrix& matrix) {
    return matrix.format == MatrixFormat::nvfp4 ? matrix.k / numeric::kNvfp4Group : 0;
}

Weights::Weights(std::shared_ptr<const Checkpoint> checkpoint, std::vector<std::pair<std::string, std::string>> aliases)
    : checkpoint_(std::move(checkpoint)), aliases_(std::move(aliases)) {}

template <class Present>
std::optional<std::string> Weights::resolve(std::string_view name, Present&& present) const {
    if (present(name)) return std::string(name);
    for (const bool backwards : {false, true})
        for (const auto& alias : aliases_) {
            const std::string& from = backwards ? alias.second : alias.first;
            const std::string& to = backwards ? alias.first : alias.second;
            if (!name.starts_with(from)) continue;
            std::string renamed = to + std::string(name.substr(from.size()));
            if (present(renamed)) return renamed;
        }
    return std::nullopt;
}

std::optional<std::string> Weights::resolve_module(std::string_view module) const {
    return resolve(module, [&](std::string_view name) {
        const auto tensors = checkpoint_->starting_with(std::string(name) + ".");
        const MatrixTensors found = MatrixTensors::collect(name, tensors);
        return found.weight != nullptr || found.weight_packed != nullptr || found.foreign != nullptr;
    });
}

const TensorEntry* Weights::find(std::string_view tensor) const {
    const TensorEntry* found = nullptr;
    (void)resolve(tensor, [&](std::string_view name) { return (found = checkpoint_->find(name)) != nullptr; });
    return found;
}

void Weights::mark(const TensorEntry* tensor) {
    const std::lock_guard lock(mutex_);
    used_.insert(tensor);
}

// Configs may name modules as the checkpoint does or as the model does.
Claim Weights::claim(std::string_view module) const {
    Claim claim = checkpoint_->quant_scheme().claim(module);
    if (claim.named) return claim;
    (void)resolve(module, [&](std::string_view name) {
        Claim other = checkpoint_->quant_scheme().claim(name);
        if (other.named) claim = std::move(other);
        return claim.named;
    });
    return claim;
}

bool Weights::has(std::string_view tensor) const {
    return find(tensor) != nullptr;
}
bool Weights::has_matrix(std::string_view module) const {
    return !checkpoint_->has_tensor_headers() || resolve_module(module).has_value();
}

Result<Matrix> Weights::matrix_by_claim(std::string_view module, int64_t n, int64_t k) const {
    Matrix matrix;
    matrix.module = module;
    matrix.n = n;
    matrix.k = k;
    matrix.claim = claim(module);
    const uint64_t count = static_cast<uint64_t>(n) * static_cast<uint64_t>(k);
    switch (matrix.claim.format) {
        case ClaimedFormat::none:
        case ClaimedFormat::unquantized:
            matrix.format = MatrixFormat::bf16;
            matrix.stored_bytes = count * 2;
            return matrix;
        case ClaimedFormat::nvfp4:
        case ClaimedFormat::nvfp4_w4a16:
            matrix.format = MatrixFormat::nvfp4;
            matrix.stored_bytes = count / 2 + count / numeric::kNvfp4Group + 2 * sizeof(float);
            if (k % numeric::kNvfp4Group == 0) return matrix;
            break;
        case ClaimedFormat::fp8:
            matrix.format = MatrixFormat::fp8_tensor;
            matrix.stored_bytes = count + 2 * sizeof(float);
            return matrix;
        case ClaimedFormat::fp8_per_channel:
            matrix.format = MatrixFormat::fp8_row;
            matrix.row_scale.assign(static_cast<size_t>(n), 1.0f);
            matrix.stored_bytes = count + static_cast<uint64_t>(n) * sizeof(float);
            return matrix;
        case ClaimedFormat::fp8_block:
        case ClaimedFormat::mxfp4:
        case ClaimedFormat::mxfp8:
        case ClaimedFormat::other:
            break;
    }
    return error(ErrorCode::unsupported, "{}: {} [{}, {}] is {} by {}, which nibble does not read",
                 checkpoint_->folder().string(), in_quotes(module), n, k, name(matrix.claim.format),
                 matrix.claim.because);
}

Result<Matrix> Weights::matrix(std::string_view module, int64_t n, int64_t k) {
    CHECK(n > 0 && k > 0, "{} [{}, {}]", module, n, k);
    if (!checkpoint_->has_tensor_headers()) return matrix_by_claim(module, n, k);
    const Checkpoint& checkpoint = *checkpoint_;
    const std::string folder = checkpoint.folder().string();
    Matrix matrix;
    matrix.module = resolve_module(module).value_or(std::string(module));
    matrix.n = n;
    matrix.k = k;
    const auto tensors = MatrixTensors::collect(matrix.module, checkpoint.starting_with(matrix.module + "."));
    TRY(const MatrixTensors::Kind kind, tensors.decide(folder, matrix.module, n, k));
    matrix.format = kind.format;
    matrix.codes = kind.codes;
    matrix.block_scales = kind.block_scales;
    matrix.claim = claim(matrix.module);
    if (matrix.claim.named && !agrees(matrix.claim.format, kind.format, n, k))
        return error(ErrorCode::model_invalid, "{}: {} is {} by its tensors ({}: {}), but {}{} by {}", folder,
                     in_quotes(matrix.module), name(kind.format), in_quotes(kind.codes->name), describe(*kind.codes),
                     name(matrix.claim.format),
                     matrix.claim.algorithm.empty() ? "" : " (" + matrix.claim.algorithm + ")", matrix.claim.because);

    // Only NVFP4's own activation scale is one that multiplies 4-bit codes; a weight-only claim leaves it without
    // meaning.
    const bool weights_only = matrix.claim.format == ClaimedFormat::nvfp4_w4a16;
    const TensorEntry* input = tensors.input_scale ? tensors.input_scale : tensors.input_global_scale;
    if (tensors.input_scale && tensors.input_global_scale)
        return error(ErrorCode::model_invalid, "{}: {} has both .input_scale and .input_global_scale", folder,
                     in_quotes(matrix.module));
    if (input != nullptr && (input->elements() != 1 || !is_float(input->dtype)))
        return error(ErrorCode::model_invalid, "{}: tensor {}: expected one F32 or BF16 value, found {}", folder,
                     in_quotes(input->name), describe(*input));
    if (checkpoint.has_tensor_data()) {
        if (kind.scale != nullptr && kind.format == MatrixFormat::fp8_row) {
            TRY(matrix.row_scale, read_scales(checkpoint, *kind.scale));
        } else if (kind.scale != nullptr) {
            TRY(matrix.scale, read_one_scale(checkpoint, *kind.scale, kind.scale_divides));
        }
        if (input != nullptr && !weights_only) {
            TRY(matrix.input_scale, read_one_scale(checkpoint, *input, input == tensors.input_global_scale));
        }
    } else if (kind.format == MatrixFormat::fp8_row) {
        matrix.row_scale.assign(static_cast<size_t>(n), 1.0f);
    }
    for (const TensorEntry* tensor : tensors.all()) {
        matrix.stored_bytes += tensor->bytes;
        mark(tensor);
    }
    return matrix;
}

Result<const TensorEntry*> Weights::tensor(std::string_view name, std::initializer_list<int64_t> shape) {
    if (!checkpoint_->has_tensor_headers()) return static_cast<const TensorEntry*>(nullptr);
    const std::string folder = checkpoint_->folder().string();
    const TensorEntry* entry = find(name);
    if (entry == nullptr) return error(ErrorCode::model_invalid, "{}: tensor {} is missing", folder, in_quotes(name));
    const bool one = shape.size() <= 1 && entry->shape.size() <= 1 && entry->elements() == 1 &&
                     (shape.size() == 0 || *shape.begin() == 1);
    if (!one && !std::equal(shape.begin(), shape.end(), entry->shape.begin(), entry->shape.end()))
        return error(ErrorCode::model_invalid, "{}: tensor {}: expected [{}], found {}", folder, in_quotes(entry->name),
                     fmt::join(shape, ", "), describe(*entry));
    mark(entry);
    return entry;
}

Result<std::vector<float>> Weights::values(std::string_view tensor_name, std::initializer_list<int64_t> shape) {
    TRY(const TensorEntry* entry, tensor(tensor_name, shape));
    if (entry != nullptr && !is_float(entry->dtype))
        return error(ErrorCode::model_invalid, "{}: tensor {}: expected BF16, F16 or F32, found {}",
                     checkpoint_->folder().string(), in_quotes(entry->name), describe(*entry));
    if (!checkpoint_->has_tensor_data()) {
        size_t count = 1;
        for (const int64_t extent : shape) count *= static_cast<size_t>(extent);
        return std::vector<float>(count);
    }
    TRY(auto values, read_floats(*checkpoint_, *entry));
    for (const float value : values)
        if (!std::isfinite(value)) return bad_value(*checkpoint_, *entry, "finite values", fmt::format("{}", value));
    return values;
}

Result<void> Weights::read_rows(const Matrix& matrix, int64_t row, int64_t rows, std::byte* codes,
                                std::byte* scales) const {
    CHECK(row >= 0 && rows >= 0 && row + rows <= matrix.n, "{}: rows {} + {} of {}", matrix.module, row, rows,
          matrix.n);
    const auto read_part = [&](const TensorEntry& tensor, std::byte* into) -> Result<std::span<std::byte>> {
        const uint64_t row_bytes = tensor.bytes / static_cast<uint64_t>(matrix.n);
        const std::span<std::byte> bytes(into, row_bytes * static_cast<uint64_t>(rows));
        TRY_VOID(checkpoint_->read(tensor, row_bytes * static_cast<uint64_t>(row), bytes));
        return bytes;
    };
    if (matrix.format == MatrixFormat::f16) {
        // Read into the upper half and widen from the front: a value is read before its place is written.
        const size_t count = static_cast<size_t>(rows * matrix.k);
        TRY(const auto halves, read_part(*matrix.codes, codes + count * 2));
        if (!all_finite(DType::f16, halves)) return bad_value(*checkpoint_, *matrix.codes, "finite values", "another");
        widen_f16(halves.data(), codes, count);
        return {};
    }
    TRY(const auto bytes, read_part(*matrix.codes, codes));
    if (matrix.format != MatrixFormat::nvfp4) {  // every E2M1 code is finite
        if (!all_finite(matrix.codes->dtype, bytes))
            return bad_value(*checkpoint_, *matrix.codes, "finite values",
                             fmt::format("one that is not, in rows {} to {}", row, row + rows - 1));
        return {};
    }
    TRY(const auto block_scales, read_part(*matrix.block_scales, scales));
    if (!all_unsigned_e4m3(block_scales))
        return bad_value(*checkpoint_, *matrix.block_scales, "block scales from 0 to 448",
                         fmt::format("NaN or a negative one, in rows {} to {}", row, row + rows - 1));
    return {};
}

Result<std::vector<float>> Weights::block_scale_values(const Matrix& matrix) const {
    CHECK(matrix.format == MatrixFormat::fp8_block, "{} has no float block scales", matrix.module);
    if (!checkpoint_->has_tensor_data())
        return std::vector<float>(static_cast<size_t>(matrix.block_scales->elements()), 1.0f);
    return read_scales(*checkpoint_, *matrix.block_scales);
}

void Weights::ignore(std::string_view pattern) {
    const std::lock_guard lock(mutex_);
    ignored_.emplace_back(pattern);
}

Result<void> Weights::all_accounted_for() const {
    constexpr size_t kNamed = 5;
    const std::lock_guard lock(mutex_);
    size_t surplus = 0;
    std::vector<std::string> names;
    for (const TensorEntry& tensor : checkpoint_->tensors()) {
        if (used_.contains(&tensor)) continue;
        const auto matches = [&](const std::string& pattern) { return wildcard_matches(pattern, tensor.name); };
        if (std::any_of(ignored_.begin(), ignored_.end(), matches)) continue;
        if (++surplus <= kNamed) names.push_back(in_quotes(tensor.name) + " (" + describe(tensor) + ")");
    }
    if (surplus == 0) return {};
    return error(ErrorCode::model_invalid, "{}: {} tensor{} that no part of the model uses: {}{}",
                 checkpoint_->folder().string(), surplus, surplus == 1 ? "" : "s", fmt::join(names, ", "),
                 surplus > kNamed ? ", …" : "");
}

}  // namespace nibble::checkpoint
