// ShardIndex: which safetensors files a model folder consists of, and which tensor its index expects in which file.
#pragma once

#include "base/folder.h"
#include "base/result.h"

#include <string>
#include <vector>

namespace nibble::checkpoint {

struct ShardIndex {
    struct Tensor {
        std::string name;
        int file = 0;  // into files
    };
    std::string from;                // the index file's name; empty: a single file, or none
    std::vector<std::string> files;  // names within the folder, sorted
    std::vector<Tensor> tensors;     // sorted by name
};

// Reads model.safetensors.index.json, else finds model.safetensors. With headers_only a folder without either is fine.
// Errors: model_invalid (an index that names no plain .safetensors file of this folder, shards that it does not name,
// weights in another format alone).
Result<ShardIndex> find_shards(const Folder& folder, bool headers_only);

}  // namespace nibble::checkpoint
