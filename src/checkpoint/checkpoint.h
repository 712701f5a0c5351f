// Checkpoint: a published model folder, opened: its configs, its tensors by name, and how each matrix is stored.
//
// Opening reads headers and configs alone (seconds for 125,000 tensors). Data is read on demand, from any thread, by
// positioned reads straight into the caller's memory: no file is mapped, none is held twice. Immutable after open.
#pragma once

#include "base/folder.h"
#include "base/result.h"
#include "checkpoint/config.h"
#include "checkpoint/quant_scheme.h"
#include "checkpoint/safetensors.h"

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::checkpoint {

// The model that is compiled into the program (models/demo of the source tree), by its name. Errors: not_found when the
// program was built without it.
inline constexpr std::string_view kDemoModel = "demo";
Result<Folder> demo_model();

// "demo", a folder, or org/name[@revision] in the Hugging Face cache ($HF_HUB_CACHE, $HF_HOME/hub,
// ~/.cache/huggingface/hub). A folder of the name demo is ./demo. Errors: not_found, saying where was looked.
Result<Folder> find_model_folder(std::string_view model);

// The Hugging Face cache as the environment names it, whether it is there or not. Nothing: neither it nor a home is
// set.
std::optional<std::filesystem::path> hub_cache();

// Whether what is read stays in the system's page cache, where the next start finds it.
enum class PageCache {
    automatic,  // unless the checkpoint is larger than half of the memory
    keep,
    drop,  // pages go as they are read: for memory that a device shares with the host
};

struct OpenOptions {
    // Data is not needed: files may be absent (a folder of config and index) or end after their header.
    bool headers_only = false;
    // For a survey of a folder that does not open as it is. Without claims no quantisation config is read, and tensors
    // alone tell formats; without tensors neither index nor safetensors files are looked at (with headers_only).
    bool claims = true;
    bool tensors = true;
    PageCache page_cache = PageCache::automatic;
};

class Checkpoint {
public:
    // Errors: not_found, model_invalid (file, tensor, expected, found), io.
    static Result<std::shared_ptr<const Checkpoint>> open(const Folder& folder, const OpenOptions& options = {});
    ~Checkpoint();

    const Folder& folder() const;
    const Config& config() const;             // config.json
    const Config* generation_config() const;  // null when the folder has none
    const QuantScheme& quant_scheme() const;
    std::span<const std::string> files() const;  // names within the folder

    const TensorEntry* find(std::string_view name) const;
    std::span<const TensorEntry* const> starting_with(std::string_view prefix) const;  // sorted by name
    std::span<const TensorEntry> tensors() const;
    uint64_t tensor_bytes() const;    // sum over tensors
    bool has_tensor_headers() const;  // false: a folder with only config and maybe an index
    bool has_tensor_data() const;     // false: opened with headers_only

    // Reads `bytes` bytes at `offset` within the tensor. Errors: io and model_invalid, naming file and tensor.
    Result<void> read(const TensorEntry& tensor, uint64_t offset, std::span<std::byte> into) const;

private:
    struct State;
    explicit Checkpoint(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace nibble::checkpoint
