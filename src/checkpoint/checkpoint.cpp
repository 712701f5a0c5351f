#include "checkpoint/checkpoint.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/files.h"
#include "base/in_quotes.h"
#include "checkpoint/shard_index.h"
#include "device/device.h"

#include <algorithm>
#include <optional>
#include <system_error>

namespace nibble::checkpoint {
namespace {

namespace fs = std::filesystem;

// Pages are dropped behind the reads in pieces of this size: memory that the weights themselves need stays free, and
// reads of a few rows do not throw away what the system read ahead for the next.
constexpr uint64_t kDropPiece = uint64_t{8} << 20;

Result<std::optional<Config>> load_if_there(const Folder& folder, std::string_view name) {
    if (!folder.has(name)) return std::optional<Config>();
    auto config = Config::load(folder, name);
    if (!config) {
        // Something of that name is there, but no file.
        if (config.error().code == ErrorCode::not_found) config.error().code = ErrorCode::model_invalid;
        return std::move(config).error();
    }
    return std::optional(*std::move(config));
}

}  // namespace

struct Checkpoint::State {
    Folder folder;
    std::optional<Config> config, generation_config;
    std::optional<QuantScheme> quant_scheme;
    std::vector<std::string> files;
    std::vector<File> opened;          // as files; empty without tensor headers
    std::vector<TensorEntry> tensors;  // file by file, in the order of the data
    std::vector<const TensorEntry*> by_name;
    uint64_t tensor_bytes = 0;
    bool headers_only = false;
    bool drop_behind = false;

    Result<void> read_headers(const OpenOptions& options, const ShardIndex& index);
    Result<void> check_against(const ShardIndex& index) const;
};

Result<void> Checkpoint::State::read_headers(const OpenOptions& options, const ShardIndex& index) {
    size_t missing = 0;
    for (const std::string& name : index.files) {
        files.push_back(name);
        if (options.headers_only && !folder.has(name)) {
            ++missing;
            continue;
        }
        auto file = folder.open(name);
        if (!file) {
            if (file.error().code == ErrorCode::not_found) {
                file.error().code = ErrorCode::model_invalid;
                if (!index.from.empty()) file.error().message += "; " + index.from + " names it";
            }
            return std::move(file).error();
        }
        TRY(SafetensorsHeader header, read_safetensors_header(*file, options.headers_only));
        for (TensorEntry& tensor : header.tensors) {
            tensor.file = static_cast<int>(files.size()) - 1;
            const auto sum = checked_add(tensor_bytes, tensor.bytes);
            if (!sum) return error(ErrorCode::model_invalid, "{}: more than 2^64 bytes of tensors", folder.string());
            tensor_bytes = *sum;
            tensors.push_back(std::move(tensor));
        }
        opened.push_back(*std::move(file));
    }
    if (missing == index.files.size()) {
        files.clear();
        return {};
    }
    if (missing > 0)
        return error(ErrorCode::model_invalid, "{}: {} of the {} files that {} names are missing", folder.string(),
                     missing, index.files.size(), index.from);
    by_name.reserve(tensors.size());
    for (const TensorEntry& tensor : tensors) by_name.push_back(&tensor);
    std::sort(by_name.begin(), by_name.end(), [](const auto* a, const auto* b) { return a->name < b->name; });
    const auto twice = std::adjacent_find(by_name.begin(), by_name.end(),
                                          [](const auto* a, const auto* b) { return a->name == b->name; });
    if (twice != by_name.end())
        return error(ErrorCode::model_invalid, "{}: tensor {} stands in both {} and {}", folder.string(),
                     in_quotes((*twice)->name), index.files[static_cast<size_t>((*twice)->file)],
                     index.files[static_cast<size_t>((*(twice + 1))->file)]);
    return check_against(index);
}

// Index and headers must say the same: both are sorted by name, so one walk tells.
Result<void> Checkpoint::State::check_against(const ShardIndex& index) const {
    if (index.tensors.empty() && index.from.empty()) return {};  // a single file has no index
    auto there = by_name.begin();
    for (const ShardIndex::Tensor& claimed : index.tensors) {
        const std::string& shard = index.files[static_cast<size_t>(claimed.file)];
        if (there != by_name.end() && (*there)->name < claimed.name) break;
        if (there == by_name.end() || (*there)->name != claimed.name)
            return error(ErrorCode::model_invalid, "{}: tensor {} is expected in {}, which does not hold it",
                         folder.string(index.from), in_quotes(claimed.name), shard);
        if ((*there)->file != claimed.file)
            return error(ErrorCode::model_invalid, "{}: tensor {} is expected in {}, found in {}",
                         folder.string(index.from), in_quotes(claimed.name), shard,
                         index.files[static_cast<size_t>((*there)->file)]);
        ++there;
    }
    if (there != by_name.end())
        return error(ErrorCode::model_invalid, "{}: tensor {} of {} is not listed", folder.string(index.from),
                     in_quotes((*there)->name), index.files[static_cast<size_t>((*there)->file)]);
    return {};
}

Checkpoint::Checkpoint(std::unique_ptr<State> state) : state_(std::move(state)) {}
Checkpoint::~Checkpoint() = default;

Result<std::shared_ptr<const Checkpoint>> Checkpoint::open(const Folder& folder, const OpenOptions& options) {
    if (!folder.is_embedded()) {
        std::error_code failure;
        const fs::file_status status = fs::status(folder.path(), failure);
        if (!fs::exists(status)) return error(ErrorCode::not_found, "{}: no such folder", folder.string());
        if (!fs::is_directory(status))
            return error(ErrorCode::not_found, "{}: expected a model folder, found a file", folder.string());
    }
    auto state = std::make_unique<State>();
    state->folder = folder;
    state->headers_only = options.headers_only;
    TRY(state->config, load_if_there(folder, "config.json"));
    if (!state->config)
        return error(ErrorCode::not_found, "{}: no config.json in it: not a model folder", folder.string());
    TRY(state->generation_config, load_if_there(folder, "generation_config.json"));
    std::optional<Config> hf_quant_config;
    if (options.claims) {
        TRY(hf_quant_config, load_if_there(folder, "hf_quant_config.json"));
    }
    TRY(const Config without_claims, Config::parse("{}", state->config->file()));
    TRY(state->quant_scheme, QuantScheme::parse(hf_quant_config ? &*hf_quant_config : nullptr,
                                                options.claims ? *state->config : without_claims));
    ShardIndex index;
    if (options.tensors || !options.headers_only) {
        TRY(index, find_shards(folder, options.headers_only));
    }
    TRY_VOID(state->read_headers(options, index));
    state->drop_behind = options.page_cache == PageCache::drop;
    if (options.page_cache == PageCache::automatic)
        if (const auto memory = device::read_memory(device::Device{}))
            state->drop_behind = state->tensor_bytes > static_cast<uint64_t>(memory->total_bytes) / 2;
    return std::shared_ptr<const Checkpoint>(new Checkpoint(std::move(state)));
}

const Folder& Checkpoint::folder() const {
    return state_->folder;
}
const Config& Checkpoint::config() const {
    return *state_->config;
}
const Config* Checkpoint::generation_config() const {
    return state_->generation_config ? &*state_->generation_config : nullptr;
}
const QuantScheme& Checkpoint::quant_scheme() const {
    return *state_->quant_scheme;
}
std::span<const std::string> Checkpoint::files() const {
    return state_->files;
}
std::span<const TensorEntry> Checkpoint::tensors() const {
    return state_->tensors;
}
uint64_t Checkpoint::tensor_bytes() const {
    return state_->tensor_bytes;
}
bool Checkpoint::has_tensor_headers() const {
    return !state_->opened.empty();
}
bool Checkpoint::has_tensor_data() const {
    return has_tensor_headers() && !state_->headers_only;
}

const TensorEntry* Checkpoint::find(std::string_view name) const {
    const auto found = starting_with(name);
    return !found.empty() && found.front()->name == name ? found.front() : nullptr;
}

std::span<const TensorEntry* const> Checkpoint::starting_with(std::string_view prefix) const {
    const std::span<const TensorEntry* const> all(state_->by_name);
    const auto begin = std::lower_bound(all.begin(), all.end(), prefix,
                                        [](const TensorEntry* tensor, std::string_view p) { return tensor->name < p; });
    auto end = begin;
    while (end != all.end() && (*end)->name.starts_with(prefix)) ++end;
    return all.subspan(static_cast<size_t>(begin - all.begin()), static_cast<size_t>(end - begin));
}

Result<void> Checkpoint::read(const TensorEntry& tensor, uint64_t offset, std::span<std::byte> into) const {
    CHECK(offset <= tensor.bytes && into.size() <= tensor.bytes - offset, "{}: bytes {} + {} of {}", tensor.name,
          offset, into.size(), tensor.bytes);
    const File& file = state_->opened[static_cast<size_t>(tensor.file)];
    const uint64_t begin = tensor.offset + offset, end = begin + into.size();
    if (auto done = file.read(begin, into); !done) {
        done.error().message += " (tensor " + in_quotes(tensor.name) + ")";
        return done;
    }
    if (state_->drop_behind) {
        const uint64_t from = begin / kDropPiece * kDropPiece;
        // Up to the last piece that this read has finished, or all of it at the end of the file.
        const uint64_t to = end == file.size() ? end : end / kDropPiece * kDropPiece;
        if (to > from) file.drop_from_cache(from, to - from);
    }
    return {};
}

}  // namespace nibble::checkpoint
