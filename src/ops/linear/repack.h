// repack_tiles: rows of a matrix as the checkpoint has them, already on the device, to cuda_tiles (cuda_layout.h).
#pragma once

#include "ops/weight.h"

namespace nibble::ops {

// codes: `rows` rows of row_code_bytes; scales: row_scale_bytes a row (nvfp4); tiles: where these rows' first tile
// goes. rows is a multiple of 16 unless they are the matrix's last.
void repack_tiles(WeightFormat format, const std::byte* codes, const std::byte* scales, int64_t rows, int64_t k,
                  std::byte* tiles, device::Stream stream);

}  // namespace nibble::ops
