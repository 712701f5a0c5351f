// TinyCheckpoint: a healthy three-shard checkpoint with a matrix of every format, as files in memory, for tests to
// damage. Tests only.
#pragma once

#include "base/result.h"
#include "base/temporary_folder.h"
#include "checkpoint/weights.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::checkpoint {

// Length, header, data.
std::string safetensors_bytes(std::string_view header, std::string_view data);

// A file of tensors one behind the other.
struct TinyTensor {
    std::string name, dtype;  // "BF16"
    std::vector<int64_t> shape;
    std::string data;
};
std::string safetensors_bytes(const std::vector<TinyTensor>& tensors);

std::string bytes_of(const std::vector<float>& values);
std::string bf16_bytes_of(const std::vector<float>& values);

struct TinyCheckpoint {
    std::map<std::string, std::string> files;  // by name

    TinyCheckpoint();
    void write_to(const TemporaryFolder& folder) const;
};

// Opens the folder and reads every tensor as a model would. The error of the first thing that is wrong.
Result<void> load_tiny(const Folder& folder);

}  // namespace nibble::checkpoint
