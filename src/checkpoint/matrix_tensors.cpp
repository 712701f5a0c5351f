#include "checkpoint/matrix_tensors.h"

#include "base/in_quotes.h"
#include "numeric/nvfp4.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>

namespace nibble::checkpoint {
namespace {

using numeric::DType;

constexpr int64_t kFp8Block = 128;

// Companions of a weight that change what it means, in formats that nibble does not read.
struct Foreign {
    std::string_view suffix, format;
};
constexpr std::array kForeign = {
    Foreign{"pre_quant_scale", "AWQ-scaled activations (pre_quant_scale)"},
    Foreign{"qweight", "AWQ or GPTQ integers (qweight)"},
    Foreign{"qzeros", "AWQ or GPTQ integers (qzeros)"},
    Foreign{"g_idx", "GPTQ integers (g_idx)"},
    Foreign{"weight_zero_point", "asymmetric integers (weight_zero_point)"},
    Foreign{"weight_g_idx", "reordered groups (weight_g_idx)"},
    Foreign{"svdquant_lora_a", "NVFP4_SVD (svdquant_lora_a)"},
    Foreign{"svdquant_lora_b", "NVFP4_SVD (svdquant_lora_b)"},
    Foreign{"weight_blocks", "MXFP4 (weight_blocks)"},
    Foreign{"SCB", "bitsandbytes integers (SCB)"},
};

int64_t ceil_divide(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

bool has_shape(const TensorEntry& tensor, std::initializer_list<int64_t> shape) {
    return std::equal(tensor.shape.begin(), tensor.shape.end(), shape.begin(), shape.end());
}

bool is_float(DType dtype) {
    return dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16;
}

// What Kind is made of, with the folder and the matrix known.
class Decision {
public:
    Decision(const MatrixTensors& tensors, const std::string& folder, std::string_view module, int64_t n, int64_t k)
        : tensors_(tensors), folder_(folder), module_(module), n_(n), k_(k) {}

    using Kind = MatrixTensors::Kind;

    Result<Kind> decide() const {
        if (tensors_.foreign != nullptr) {
            for (const Foreign& foreign : kForeign)
                if (tensors_.foreign->name.ends_with(foreign.suffix))
                    return unsupported(*tensors_.foreign, foreign.format);
            return unsupported(*tensors_.foreign, "an unknown format");
        }
        if (tensors_.weight != nullptr && tensors_.weight_packed != nullptr)
            return invalid("{} has both .weight and .weight_packed", in_quotes(module_));
        if (tensors_.weight_packed != nullptr) return decide_packed(*tensors_.weight_packed);
        if (tensors_.weight == nullptr) return missing("weight");
        const TensorEntry& weight = *tensors_.weight;
        switch (weight.dtype) {
            case DType::u8:
            case DType::e2m1x2:
                return decide_packed(weight);
            case DType::f8_e4m3:
                return decide_fp8(weight);
            case DType::bf16:
                return plain(weight, MatrixFormat::bf16);
            case DType::f16:
                return plain(weight, MatrixFormat::f16);
            case DType::f32:
                return plain(weight, MatrixFormat::f32);
            default:
                return unsupported(weight, fmt::format("weights of {}", numeric::safetensors_name(weight.dtype)));
        }
    }

private:
    template <class... Args>
    Error invalid(fmt::format_string<Args...> format, Args&&... args) const {
        return Error{ErrorCode::model_invalid, folder_ + ": " + fmt::format(format, std::forward<Args>(args)...)};
    }
    Error unsupported(const TensorEntry& tensor, std::string_view format) const {
        return error(ErrorCode::unsupported, "{}: tensor {} ({}): nibble does not read {}", folder_,
                     in_quotes(tensor.name), describe(tensor), format);
    }
    Error missing(std::string_view suffix) const {
        return invalid("tensor {} is missing", in_quotes(std::string(module_) + "." + std::string(suffix)));
    }
    Error misshapen(const TensorEntry& tensor, std::string_view expected) const {
        return invalid("tensor {}: expected {}, found {}", in_quotes(tensor.name), expected, describe(tensor));
    }
    Result<void> expect(const TensorEntry& tensor, DType dtype, int64_t rows, int64_t columns) const {
        if (tensor.dtype == dtype && has_shape(tensor, {rows, columns})) return {};
        return misshapen(tensor, fmt::format("{} [{}, {}]", numeric::safetensors_name(dtype), rows, columns));
    }
    Result<void> expect_one_float(const TensorEntry& tensor) const {
        if (is_float(tensor.dtype) && tensor.elements() == 1) return {};
        return misshapen(tensor, "one F32 or BF16 value");
    }

    Result<Kind> plain(const TensorEntry& weight, MatrixFormat format) const {
        if (weight.dtype == DType::f32 || weight.dtype == DType::f16 || weight.dtype == DType::bf16)
            for (const TensorEntry* scale : {tensors_.weight_scale, tensors_.weight_scale_2,
                                             tensors_.weight_global_scale, tensors_.weight_scale_inv})
                if (scale != nullptr)
                    return invalid("tensor {} is {}, which needs no scale, but {} is there", in_quotes(weight.name),
                                   numeric::safetensors_name(weight.dtype), in_quotes(scale->name));
        TRY_VOID(expect(weight, weight.dtype, n_, k_));
        return Kind{.format = format, .codes = &weight};
    }

    // Bytes with two codes each: NVFP4, or one of the MX formats.
    Result<Kind> decide_packed(const TensorEntry& codes) const {
        if (codes.dtype != DType::u8 && codes.dtype != DType::e2m1x2)
            return unsupported(codes, fmt::format("packed weights of {}", numeric::safetensors_name(codes.dtype)));
        const TensorEntry* block_scales = tensors_.weight_scale;
        if (block_scales == nullptr) return missing("weight_scale");
        if (block_scales->dtype == DType::u8 || block_scales->dtype == DType::f8_e8m0)
            return unsupported(*block_scales, "MXFP4 (power-of-two block scales)");
        if (k_ % numeric::kNvfp4Group != 0)
            return invalid("{}: NVFP4 needs columns in groups of 16, the model expects {}", in_quotes(module_), k_);
        TRY_VOID(expect(codes, codes.dtype, n_, k_ / 2));
        TRY_VOID(expect(*block_scales, DType::f8_e4m3, n_, k_ / numeric::kNvfp4Group));
        Kind kind{.format = MatrixFormat::nvfp4, .codes = &codes, .block_scales = block_scales};
        if (tensors_.weight_scale_2 != nullptr && tensors_.weight_global_scale != nullptr)
            return invalid("{} has both .weight_scale_2 and .weight_global_scale", in_quotes(module_));
        kind.scale_divides = tensors_.weight_global_scale != nullptr;
        kind.scale = kind.scale_divides ? tensors_.weight_global_scale : tensors_.weight_scale_2;
        if (kind.scale == nullptr) return missing(tensors_.weight_packed ? "weight_global_scale" : "weight_scale_2");
        TRY_VOID(expect_one_float(*kind.scale));
        return kind;
    }

    Result<Kind> decide_fp8(const TensorEntry& weight) const {
        TRY_VOID(expect(weight, DType::f8_e4m3, n_, k_));
        if (tensors_.weight_scale != nullptr && tensors_.weight_scale_inv != nullptr)
            return invalid("{} has both .weight_scale and .weight_scale_inv", in_quotes(module_));
        const TensorEntry* scale = tensors_.weight_scale ? tensors_.weight_scale : tensors_.weight_scale_inv;
        if (scale == nullptr) return missing("weight_scale");
        if (scale->dtype == DType::u8 || scale->dtype == DType::f8_e8m0)
            return unsupported(*scale, "MXFP8 (power-of-two block scales)");
        if (!is_float(scale->dtype)) return misshapen(*scale, "F32 or BF16");
        Kind kind{.codes = &weight};
        const int64_t block_rows = ceil_divide(n_, kFp8Block), block_columns = ceil_divide(k_, kFp8Block);
        if (scale->elements() == 1) {  // also the only row, or the only block
            kind.format = MatrixFormat::fp8_tensor;
            kind.scale = scale;
        } else if (has_shape(*scale, {n_}) || has_shape(*scale, {n_, 1})) {
            kind.format = MatrixFormat::fp8_row;
            kind.scale = scale;
        } else if (has_shape(*scale, {block_rows, block_columns}) ||
                   has_shape(*scale, {block_rows, 1, block_columns, 1})) {
            kind.format = MatrixFormat::fp8_block;
            kind.block_scales = scale;
        } else {
            return misshapen(*scale,
                             fmt::format("one scale, [{}], [{}, 1] or [{}, {}]", n_, n_, block_rows, block_columns));
        }
        return kind;
    }

    const MatrixTensors& tensors_;
    const std::string& folder_;
    std::string_view module_;
    int64_t n_, k_;
};

}  // namespace

std::string describe(const TensorEntry& tensor) {
    return fmt::format("{} [{}]", numeric::safetensors_name(tensor.dtype), fmt::join(tensor.shape, ", "));
}

MatrixTensors MatrixTensors::collect(std::string_view module, std::span<const TensorEntry* const> tensors) {
    MatrixTensors found;
    for (const TensorEntry* tensor : tensors) {
        const std::string_view suffix = std::string_view(tensor->name).substr(module.size() + 1);
        if (suffix == "weight")
            found.weight = tensor;
        else if (suffix == "weight_packed")
            found.weight_packed = tensor;
        else if (suffix == "weight_scale")
            found.weight_scale = tensor;
        else if (suffix == "weight_scale_2")
            found.weight_scale_2 = tensor;
        else if (suffix == "weight_global_scale")
            found.weight_global_scale = tensor;
        else if (suffix == "weight_scale_inv")
            found.weight_scale_inv = tensor;
        else if (suffix == "input_scale" || suffix == "activation_scale")
            found.input_scale = tensor;
        else if (suffix == "input_global_scale")
            found.input_global_scale = tensor;
        else
            for (const Foreign& foreign : kForeign)
                if (suffix == foreign.suffix) found.foreign = tensor;
    }
    return found;
}

std::vector<const TensorEntry*> MatrixTensors::all() const {
    std::vector<const TensorEntry*> tensors;
    for (const TensorEntry* tensor : {weight, weight_packed, weight_scale, weight_scale_2, weight_global_scale,
                                      weight_scale_inv, input_scale, input_global_scale})
        if (tensor != nullptr) tensors.push_back(tensor);
    return tensors;
}

Result<MatrixTensors::Kind> MatrixTensors::decide(const std::string& folder, std::string_view module, int64_t n,
                                                  int64_t k) const {
    return Decision(*this, folder, module, n, k).decide();
}

}  // namespace nibble::checkpoint
