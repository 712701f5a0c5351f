// From the checkpoint's row-major codes, on the device, to cuda_tiles. One warp a tile, run once at load.
#include "ops/cuda/launch.h"
#include "ops/linear/cuda_layout.h"
#include "ops/linear/repack.h"

namespace nibble::ops {
namespace {

namespace layout = cuda_layout;

struct RepackParams {
    const uint8_t* codes;   // `rows` rows of the matrix, row_bytes each
    const uint8_t* scales;  // nvfp4: k / 16 bytes a row
    std::byte* tiles;       // of the first of these rows
    int64_t row_bytes;
    int rows, k, row_tiles, k_tiles;
};

__device__ uint32_t element(const RepackParams& p, int row, int k, int bytes) {
    if (row >= p.rows || k >= p.k) return 0;
    uint32_t value = 0;
    const uint8_t* at = p.codes + row * p.row_bytes + static_cast<int64_t>(k) * bytes;
    for (int i = 0; i < bytes; ++i) value |= static_cast<uint32_t>(at[i]) << (8 * i);
    return value;
}

__global__ void repack_nvfp4(RepackParams p) {
    const int lane = threadIdx.x % 32, g = lane >> 2, q = lane & 3;
    const int64_t tile = (int64_t{1} * blockIdx.x * blockDim.x + threadIdx.x) / 32;
    if (tile >= int64_t{1} * p.row_tiles * p.k_tiles) return;
    const int row0 = static_cast<int>(tile / p.k_tiles) * 16, k0 = static_cast<int>(tile % p.k_tiles) * 64;
    std::byte* out = p.tiles + tile * layout::kNvfp4TileBytes;
    const auto scale = [&](int row, int s) -> uint32_t {
        const int block = (k0 + 16 * s) / 16;
        return row < p.rows && k0 + 16 * s < p.k ? p.scales[row * (p.k / 16) + block] : 0u;
    };
    uint32_t words[4];
    for (int s = 0; s < 4; ++s) {
        words[s] = 0;
        for (int r = 0; r < 4; ++r) {
            const int row = row0 + g + 8 * (r & 1), k = k0 + 16 * s + 8 * (r >> 1) + 2 * q;
            const uint32_t block_scale = row < p.rows && k < p.k ? scale(row, s) : 0;
            if ((block_scale & 0x7Fu) == 0) continue;
            // A negative block scale turns its codes' signs.
            const uint32_t pair = p.codes[row * p.row_bytes + k / 2] ^ ((block_scale >> 7) * 0x88u);
            words[s] |= layout::place_code(pair & 15u, r, 0) | layout::place_code(pair >> 4, r, 1);
        }
    }
    *reinterpret_cast<uint4*>(out + lane * 16) = make_uint4(words[0], words[1], words[2], words[3]);
    if (q < 2) {
        const int row = row0 + g + 8 * q;
        uint32_t bytes = 0;
        for (int s = 0; s < 4; ++s) bytes |= layout::encode_scale(scale(row, s)) << (8 * s);
        *reinterpret_cast<uint32_t*>(out + layout::kNvfp4ScaleOffset + g * 8 + q * 4) = bytes;
    }
}

__global__ void repack_fp8(RepackParams p) {
    const int lane = threadIdx.x % 32, g = lane >> 2, q = lane & 3;
    const int64_t tile = (int64_t{1} * blockIdx.x * blockDim.x + threadIdx.x) / 32;
    if (tile >= int64_t{1} * p.row_tiles * p.k_tiles) return;
    const int row0 = static_cast<int>(tile / p.k_tiles) * 16, k0 = static_cast<int>(tile % p.k_tiles) * 64;
    std::byte* out = p.tiles + tile * layout::kFp8TileBytes;
    for (int half = 0; half < 2; ++half) {
        uint32_t words[4];
        for (int i = 0; i < 4; ++i) {
            const int s = half * 2 + i / 2, r_pair = i % 2;
            const int k = k0 + 16 * s + 8 * r_pair + 2 * q;
            words[i] = element(p, row0 + g, k, 1) | element(p, row0 + g + 8, k, 1) << 8 |
                       element(p, row0 + g, k + 1, 1) << 16 | element(p, row0 + g + 8, k + 1, 1) << 24;
        }
        *reinterpret_cast<uint4*>(out + half * 512 + lane * 16) = make_uint4(words[0], words[1], words[2], words[3]);
    }
}

__global__ void repack_bf16(RepackParams p) {
    const int lane = threadIdx.x % 32, g = lane >> 2, q = lane & 3;
    const int64_t tile = (int64_t{1} * blockIdx.x * blockDim.x + threadIdx.x) / 32;
    if (tile >= int64_t{1} * p.row_tiles * p.k_tiles) return;
    const int row0 = static_cast<int>(tile / p.k_tiles) * 16, k0 = static_cast<int>(tile % p.k_tiles) * 64;
    std::byte* out = p.tiles + tile * layout::kBf16TileBytes;
    for (int s = 0; s < 4; ++s) {
        uint32_t words[4];
        for (int r = 0; r < 4; ++r) {
            const int row = row0 + g + 8 * (r & 1), k = k0 + 16 * s + 8 * (r >> 1) + 2 * q;
            words[r] = element(p, row, k, 2) | element(p, row, k + 1, 2) << 16;
        }
        *reinterpret_cast<uint4*>(out + s * 512 + lane * 16) = make_uint4(words[0], words[1], words[2], words[3]);
    }
}

}  // namespace

void repack_tiles(WeightFormat format, const std::byte* codes, const std::byte* scales, int64_t rows, int64_t k,
                  std::byte* tiles, device::Stream stream) {
    RepackParams p{.codes = reinterpret_cast<const uint8_t*>(codes),
                   .scales = reinterpret_cast<const uint8_t*>(scales),
                   .tiles = tiles,
                   .row_bytes = row_code_bytes(format, k),
                   .rows = static_cast<int>(rows),
                   .k = static_cast<int>(k),
                   .row_tiles = static_cast<int>((rows + 15) / 16),
                   .k_tiles = static_cast<int>((k + 63) / 64)};
    const int64_t threads = int64_t{32} * p.row_tiles * p.k_tiles;
    const unsigned blocks = static_cast<unsigned>((threads + 255) / 256);
    auto* s = static_cast<cudaStream_t>(stream.handle);
    switch (format) {
        case WeightFormat::nvfp4:
            repack_nvfp4<<<blocks, 256, 0, s>>>(p);
            break;
        case WeightFormat::fp8:
            repack_fp8<<<blocks, 256, 0, s>>>(p);
            break;
        case WeightFormat::bf16:
            repack_bf16<<<blocks, 256, 0, s>>>(p);
            break;
        case WeightFormat::f32:
            CHECK(false, "float32 weights stay row-major");
            break;
    }
    cuda::check_cuda(cudaGetLastError(), "repack_tiles");
}

}  // namespace nibble::ops
