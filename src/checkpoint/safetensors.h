// The safetensors format: one file's header, checked whole before any byte of data is believed.
//
// 8 bytes little-endian length L, L bytes of JSON (name -> dtype, shape, data_offsets), then the data; offsets must
// cover the data without gap or overlap and agree with dtype and shape; header at most 100,000,000 bytes. All
// arithmetic is checked. Errors: model_invalid, with file, tensor, field, expected, found.
#pragma once

#include "base/files.h"
#include "base/result.h"
#include "numeric/dtype.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace nibble::checkpoint {

struct TensorEntry {
    std::string name;
    numeric::DType dtype;
    std::vector<int64_t> shape;  // [] is a scalar
    uint64_t offset = 0;         // of the first byte, from the start of the file
    uint64_t bytes = 0;
    int file = 0;  // index into Checkpoint::files()

    int64_t elements() const {
        int64_t n = 1;
        for (int64_t extent : shape) n *= extent;
        return n;
    }
};

struct SafetensorsHeader {
    std::vector<TensorEntry> tensors;  // in file order of their data
    uint64_t file_bytes = 0;
};
// Reads the header alone. With headers_only_file the data may be missing (a truncated copy that holds just the header).
// Errors: not_found, io, model_invalid, and unsupported for an element type that nibble has no size for.
Result<SafetensorsHeader> read_safetensors_header(const std::filesystem::path& file, bool headers_only_file = false);
Result<SafetensorsHeader> read_safetensors_header(const File& file, bool headers_only_file = false);

}  // namespace nibble::checkpoint
