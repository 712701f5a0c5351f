// Weight: a matrix [N, K] in the form a linear row reads it. WeightSource: the same matrix as the checkpoint has it.
//
// y = (W · x), W[n][k] = code value * block scale * scale * row_scale[n]. Codes and block scales are repacked once, at
// load, into the layout that the device's rows read (weight_layout.h of the family); nothing is rounded by packing.
#pragma once

#include "base/result.h"
#include "device/device.h"
#include "device/stream.h"
#include "device/tensor.h"
#include "ops/program.h"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::ops {

enum class WeightFormat : uint8_t {
    f32,
    bf16,
    fp8,    // E4M3 with a scale per tensor, or per row through row_scale
    nvfp4,  // E2M1 with an E4M3 scale per 16 along K (numeric/nvfp4.h)
};
std::string_view name(WeightFormat format);

enum class WeightLayout : uint8_t {
    row_major,   // as in the file: codes [N, K] (nvfp4: [N, K/2]), then for nvfp4 the scales [N, K/16]
    cpu_rows16,  // 16 rows interleaved (linear/cpu_layout.h)
    cuda_tiles,  // 16 x 64 tiles in mma fragment order (linear/cuda_layout.h)
};

struct Weight {
    WeightFormat format = WeightFormat::bf16;
    WeightLayout layout = WeightLayout::row_major;
    int64_t n = 0, k = 0;
    std::byte* data = nullptr;  // stored_bytes of them; null when only headers are known (recording)
    int64_t stored_bytes = 0;   // what one whole read costs: codes, scales and padding
    float scale = 1.0f;         // NVFP4's global scale, FP8's per-tensor scale
    float input_scale = 0.0f;   // activation scale for 4-bit or 8-bit activations; 0: the checkpoint has none
    device::Tensor row_scale;   // [N] f32, or empty
    std::string_view name;      // the checkpoint's module name; owned by the model

    bool empty() const { return n == 0; }
};

// The weight as a step's reader sees it, for its Program; and a norm's values.
WeightRead read_of(const Weight& weight, WeightRead::Role role = WeightRead::Role::matrix);
WeightRead read_of_norm(const device::Tensor& values);

// A matrix to be packed. read_rows delivers rows [row, row + rows) as the file has them: `codes` rows of K elements
// (nvfp4: K/2 bytes), `scales` rows of K/16 bytes (nvfp4 only, else null). It may be called from several threads.
struct WeightSource {
    WeightFormat format = WeightFormat::bf16;
    int64_t n = 0, k = 0;
    float scale = 1.0f, input_scale = 0.0f;
    std::vector<float> row_scale;  // empty, or n of them
    std::function<Result<void>(int64_t row, int64_t rows, std::byte* codes, std::byte* scales)> read_rows;
};

// Bytes of codes and scales of a row as the file has them.
int64_t row_code_bytes(WeightFormat format, int64_t k);
int64_t row_scale_bytes(WeightFormat format, int64_t k);

// The layout that the device's preferred linear row reads, and its size. Pure; shapes that a tiled layout cannot hold
// stay row_major.
WeightLayout preferred_layout(WeightFormat format, int64_t n, int64_t k, const device::Device& device);
int64_t packed_bytes(WeightFormat format, WeightLayout layout, int64_t n, int64_t k);

// Fills weight.data (already pointing at packed_bytes(…) bytes on the device, 64-byte aligned) from the source, a few
// rows at a time: the matrix is never in host memory twice. weight's format, layout, n, k are set and agree; when the
// source has row scales, weight.row_scale is memory for them. Sets data, row_scale, scale, input_scale, stored_bytes.
// Reads with as many threads as the source's caller allows (it is called from the loader's own threads).
Result<void> pack(const WeightSource& source, const device::Device& device, device::Stream stream, Weight& weight);

// Row n of the weight as float32, whatever the layout, with every scale applied (CPU only: tests and the reference).
void unpack_row(const Weight& weight, int64_t row, float* values);

}  // namespace nibble::ops
