// NVFP4: E2M1 codes, one E4M3 scale for 16 consecutive values of a row, one float32 scale for the matrix.
//
//   value[n][k] = e2m1(codes[n][k]) * e4m3(scales[n][k / 16]) * scale        (modelopt: scale = weight_scale_2;
//                                                                             compressed-tensors: 1 /
//                                                                             weight_global_scale)
// In memory as in the files: codes [N, K/2] bytes, low nibble = even k; scales [N, K/16] bytes, row-major. K % 16 == 0.
// Source: NVIDIA Model-Optimizer, nvfp4_tensor.
#pragma once

#include <cstdint>
#include <span>

namespace nibble::numeric {

inline constexpr int kNvfp4Group = 16;

// values[k] = code * (e4m3 * scale), in float32 with the scales multiplied first, as modelopt does.
void nvfp4_dequantize_row(std::span<const uint8_t> codes, std::span<const uint8_t> scales, float scale,
                          std::span<float> values);

// amax(|W|) / (6 * 448); 0 for a matrix of zeros.
float nvfp4_global_scale(std::span<const float> values);

// modelopt's max-scaling of one row with a given global scale: s_b = amax / (6 scale) (1 when 0, clamped to [2^-9,
// 448]) rounded to E4M3, codes = rne(w / (s_b * scale)), -0 as 0. The definition that encode.h is tested against.
void nvfp4_quantize_row(std::span<const float> values, float scale, std::span<uint8_t> codes,
                        std::span<uint8_t> scales);

}  // namespace nibble::numeric
