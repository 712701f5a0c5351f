#include "checkpoint/shard_index.h"

#include "base/in_quotes.h"
#include "checkpoint/config.h"

#include <algorithm>
#include <cctype>
#include <map>

namespace nibble::checkpoint {
namespace {

constexpr std::string_view kIndex = "model.safetensors.index.json";
constexpr std::string_view kSingle = "model.safetensors";
constexpr std::string_view kSuffix = ".safetensors";

// "…-00001-of-00005.safetensors": one of a set.
bool is_shard_name(std::string_view name) {
    if (!name.starts_with("model") || !name.ends_with(kSuffix)) return false;
    name.remove_suffix(kSuffix.size());
    const auto take_digits = [&] {
        const size_t before = name.size();
        while (!name.empty() && std::isdigit(static_cast<unsigned char>(name.back()))) name.remove_suffix(1);
        return before != name.size();
    };
    if (!take_digits() || !name.ends_with("-of-")) return false;
    name.remove_suffix(4);
    return take_digits() && name.ends_with('-');
}

Result<void> check_file_name(const std::string& index, std::string_view tensor, std::string_view file) {
    const bool plain = !file.empty() && file != "." && file != ".." && file.find('/') == std::string_view::npos &&
                       file.find('\0') == std::string_view::npos && file.find('\\') == std::string_view::npos;
    if (!plain)
        return error(ErrorCode::model_invalid, "{}: weight_map: tensor {}: expected a file of this folder, found {}",
                     index, in_quotes(tensor), in_quotes(file));
    if (!file.ends_with(kSuffix))
        return error(ErrorCode::model_invalid, "{}: weight_map: tensor {}: expected a .safetensors file, found {}",
                     index, in_quotes(tensor), in_quotes(file));
    return {};
}

Result<ShardIndex> read_index(const Folder& folder) {
    auto loaded = Config::load(folder, kIndex);
    if (!loaded) {
        if (loaded.error().code == ErrorCode::not_found) loaded.error().code = ErrorCode::model_invalid;
        return std::move(loaded).error();
    }
    const Config& config = *loaded;
    if (!config.has("weight_map")) return config.wrong("weight_map", "an object of tensor names and file names");
    TRY(auto map, config.string_map("weight_map"));
    if (map.empty()) return config.wrong("weight_map", "at least one tensor");
    ShardIndex index;
    index.from = kIndex;
    std::map<std::string_view, int> numbers;
    for (const auto& [tensor, file] : map) {
        if (!numbers.emplace(file, 0).second) continue;
        TRY_VOID(check_file_name(config.file(), tensor, file));
    }
    for (auto& [file, number] : numbers) {
        number = static_cast<int>(index.files.size());
        index.files.emplace_back(file);
    }
    index.tensors.reserve(map.size());
    for (auto& [tensor, file] : map) {
        const int number = numbers.find(file)->second;
        index.tensors.push_back({std::move(tensor), number});
    }
    std::sort(index.tensors.begin(), index.tensors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    return index;
}

Error no_safetensors(const Folder& folder, const std::vector<std::string>& names) {
    const auto ending = [&](std::string_view suffix) {
        return std::find_if(names.begin(), names.end(),
                            [&](const std::string& name) { return name.ends_with(suffix); });
    };
    if (const auto shard = std::find_if(names.begin(), names.end(), is_shard_name); shard != names.end())
        return error(ErrorCode::model_invalid, "{}: {} is one of several shards, but there is no {}", folder.string(),
                     in_quotes(*shard), kIndex);
    if (const auto other = ending(kSuffix); other != names.end())
        return error(ErrorCode::model_invalid, "{}: expected {} or {}, found {}", folder.string(), kSingle, kIndex,
                     in_quotes(*other));
    for (const std::string_view suffix : {".bin", ".pt", ".pth", ".ckpt"})
        if (const auto pickle = ending(suffix); pickle != names.end())
            return error(ErrorCode::model_invalid,
                         "{}: the weights are a Python pickle ({}), which can run code when it is read; nibble reads "
                         "safetensors: use a repository that has them, or convert with transformers' save_pretrained",
                         folder.string(), in_quotes(*pickle));
    if (const auto gguf = ending(".gguf"); gguf != names.end())
        return error(ErrorCode::model_invalid, "{}: the weights are GGUF ({}); nibble reads safetensors",
                     folder.string(), in_quotes(*gguf));
    return error(ErrorCode::model_invalid, "{}: no weights: expected {} or {}", folder.string(), kSingle, kIndex);
}

}  // namespace

Result<ShardIndex> find_shards(const Folder& folder, bool headers_only) {
    TRY(const std::vector<std::string> names, folder.names());
    const auto has = [&](std::string_view name) { return std::binary_search(names.begin(), names.end(), name); };
    if (!has(kIndex)) {
        ShardIndex index;
        if (has(kSingle)) {
            index.files.emplace_back(kSingle);
            return index;
        }
        const bool any =
            std::any_of(names.begin(), names.end(), [](const auto& name) { return name.ends_with(kSuffix); });
        if (headers_only && !any) return index;
        return no_safetensors(folder, names);
    }
    TRY(ShardIndex index, read_index(folder));
    // A set of shards that the index does not name is another version of the model, or a half-finished download.
    for (const std::string& name : names)
        if ((name == kSingle || is_shard_name(name)) &&
            !std::binary_search(index.files.begin(), index.files.end(), name))
            return error(ErrorCode::model_invalid, "{}: {} is there, but {} does not name it", folder.string(),
                         in_quotes(name), kIndex);
    return index;
}

}  // namespace nibble::checkpoint
