// CheckpointWriter: writes a safetensors file set (shards and index) into a folder, all of it or nothing.
//
// Tensors are declared first, so that every byte has its place; their data may then come in any order, in pieces, from
// any thread. Files carry the suffix ".partial" until finish() has flushed them all; the index comes last, so that a
// folder which is cut short never looks complete. Without finish() the partial files are removed.
#pragma once

#include "base/result.h"
#include "numeric/dtype.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace nibble::checkpoint {

struct TensorDeclaration {
    std::string name;
    numeric::DType dtype;
    std::vector<int64_t> shape;
};

class CheckpointWriter {
public:
    // A shard is closed before it would exceed shard_bytes; a larger tensor has one for itself. One shard in all is
    // written as model.safetensors, without an index. Errors: model_invalid for a name that stands twice or a folder
    // that holds weights already; io.
    static Result<CheckpointWriter> create(const std::filesystem::path& folder, std::vector<TensorDeclaration> tensors,
                                           uint64_t shard_bytes = 5'000'000'000);
    ~CheckpointWriter();
    CheckpointWriter(CheckpointWriter&&) noexcept;
    CheckpointWriter& operator=(CheckpointWriter&&) noexcept;

    // Bytes at `offset` within the tensor-th declared tensor. Any thread; each byte is written once. Errors: io.
    Result<void> write(size_t tensor, uint64_t offset, std::span<const std::byte> data);
    // Once, after every byte of every tensor. Errors: io.
    Result<void> finish();

    uint64_t total_bytes() const;

private:
    struct State;
    explicit CheckpointWriter(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace nibble::checkpoint
