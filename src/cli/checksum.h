// Checksums of a checkpoint's files, for --verify: whether every byte is what was published.
#pragma once

#include "base/result.h"
#include "checkpoint/checkpoint.h"

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace nibble::cli {

struct Checksums {
    std::vector<std::pair<std::filesystem::path, std::string>>
        unconfirmed;  // SHA-256 of files that nothing vouches for
    int confirmed = 0;
};

// Hashes every safetensors file. The Hugging Face cache names its large files by their SHA-256; beside them a file
// SHA256SUMS in the folder is believed. Errors: model_invalid naming the file with both sums, io.
Result<Checksums> verify_checksums(const checkpoint::Checkpoint& checkpoint,
                                   const std::function<void(int64_t bytes, int64_t total_bytes)>& progress);

// SHA-256 over the configs, the index and the headers of the safetensors files: names, shapes, formats and offsets, and
// none of the values. The same for every copy of a folder. Errors: io, model_invalid.
Result<std::string> hash_of_headers(const Folder& folder);

}  // namespace nibble::cli
