// The folder of a quantised checkpoint: configs in modelopt's words, the small files of the source, all or nothing.
#include "checkpoint/quantizer.h"

#include "base/files.h"
#include "base/in_quotes.h"
#include "checkpoint/json_members.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <set>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

namespace nibble::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kSmallFileLimit_bytes = uint64_t{256} << 20;

// What is not copied: weights in any format, and what vouches for or describes files that are no longer the same.
constexpr std::array<std::string_view, 13> kLeftOut = {
    ".safetensors", ".safetensors.index.json", ".bin", ".pth", ".pt", ".gguf", ".onnx", ".h5", ".msgpack", ".partial",
    "SHA256SUMS",   "conversion.json",         ".lock"};

// The algorithm that modelopt would name; empty: unquantised.
std::string algorithm_of(const LinearModule& module, Encoding encoding, const InputStatistics* inputs) {
    if (encoding == Encoding::nvfp4) {
        const InputStatistics::Found found = inputs ? inputs->find(module) : InputStatistics::Found{};
        return found.own && found.input->largest > 0 ? "NVFP4" : "W4A16_NVFP4";
    }
    if (encoding == Encoding::fp8) return "FP8_PER_CHANNEL_PER_TOKEN";
    switch (module.format) {
        case MatrixFormat::nvfp4: {
            if (module.claim.format == ClaimedFormat::nvfp4_w4a16) return "W4A16_NVFP4";
            const bool scaled = module.tensors.input_scale != nullptr || module.tensors.input_global_scale != nullptr;
            return scaled ? "NVFP4" : "W4A16_NVFP4";
        }
        case MatrixFormat::fp8_tensor:
            return "FP8";
        case MatrixFormat::fp8_row:
            return "FP8_PER_CHANNEL_PER_TOKEN";
        default:
            return {};
    }
}

std::string entry(std::string_view algorithm) {
    const bool grouped = algorithm.ends_with("NVFP4");
    return fmt::format(R"({{"quant_algo": "{}"{}}})", algorithm, grouped ? R"(, "group_size": 16)" : "");
}

struct QuantConfig {
    std::string hf_quant_config, quantization_config;
};

QuantConfig describe(const Checkpoint& checkpoint, const std::vector<LinearModule>& modules,
                     const std::vector<Encoding>& encodings, const QuantizeOptions& options) {
    std::set<std::string> algorithms;
    std::vector<std::string> plain, quantized;
    for (size_t i = 0; i < modules.size(); ++i) {
        const std::string algorithm = algorithm_of(modules[i], encodings[i], options.inputs);
        if (algorithm.empty()) {
            plain.push_back(json_string(modules[i].name));
        } else {
            algorithms.insert(algorithm);
            quantized.push_back(fmt::format("{}: {}", json_string(modules[i].name), entry(algorithm)));
        }
    }
    const bool mixed = algorithms.size() > 1;
    const std::string algorithm = mixed ? "MIXED_PRECISION" : *algorithms.begin();
    const bool grouped = !mixed && algorithm.ends_with("NVFP4");
    const bool kv_fp8 = checkpoint.quant_scheme().kv_cache_fp8();
    const std::string producer =
        fmt::format(R"({{"name": "nibble", "version": {}}})", json_string(options.producer_version));
    const std::string layers =
        mixed ? fmt::format(",\n    \"quantized_layers\": {{\n      {}\n    }}", fmt::join(quantized, ",\n      "))
              : std::string();
    const std::string group_size = grouped ? ",\n    \"group_size\": 16" : "";

    QuantConfig config;
    config.hf_quant_config = fmt::format(
        "{{\n  \"producer\": {},\n  \"quantization\": {{\n    \"quant_algo\": \"{}\",\n    \"kv_cache_quant_algo\": {}"
        "{}{},\n    \"exclude_modules\": [{}]\n  }}\n}}\n",
        producer, algorithm, kv_fp8 ? "\"FP8\"" : "null", group_size, layers, fmt::join(plain, ", "));
    std::string own = fmt::format("{{\n    \"quant_method\": \"modelopt\",\n    \"quant_algo\": \"{}\"{}{}", algorithm,
                                  group_size, layers);
    if (grouped)
        own +=
            ",\n    \"config_groups\": {\"group_0\": {\"weights\": {\"num_bits\": 4, \"type\": \"float\", "
            "\"group_size\": 16}, \"targets\": [\"Linear\"]}}";
    if (kv_fp8) own += ",\n    \"kv_cache_scheme\": {\"num_bits\": 8, \"type\": \"float\", \"dynamic\": false}";
    config.quantization_config =
        own + fmt::format(",\n    \"ignore\": [{}],\n    \"producer\": {}\n  }}", fmt::join(plain, ", "), producer);
    return config;
}

Result<void> write_file(const fs::path& path, std::string_view text) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    const auto cannot = [&](int code) {
        return error(ErrorCode::io, "{}: cannot be written: {}", path.string(), std::generic_category().message(code));
    };
    if (fd < 0) return cannot(errno);
    int code = 0;
    while (!text.empty() && code == 0) {
        const ssize_t put = ::write(fd, text.data(), text.size());
        if (put < 0 && errno != EINTR) code = errno;
        if (put > 0) text.remove_prefix(static_cast<size_t>(put));
    }
    if (code == 0 && ::fsync(fd) != 0) code = errno;
    ::close(fd);
    if (code != 0) return cannot(code);
    return {};
}

Result<void> write_configs(const Checkpoint& checkpoint, const std::vector<LinearModule>& modules,
                           const std::vector<Encoding>& encodings, const fs::path& folder,
                           const QuantizeOptions& options) {
    const QuantConfig quant = describe(checkpoint, modules, encodings, options);
    TRY_VOID(write_file(folder / "hf_quant_config.json", quant.hf_quant_config));
    const std::string source = checkpoint.folder().string("config.json");
    TRY(std::string config, checkpoint.folder().read("config.json", kSmallFileLimit_bytes));
    TRY(config, with_json_member(config, "quantization_config", quant.quantization_config, source));
    for (size_t i = 0; i < modules.size(); ++i) {
        if (!modules[i].tied || encodings[i] == Encoding::keep) continue;
        // The head is its own from now on, wherever a reader looks.
        TRY(config, with_json_member(config, "tie_word_embeddings", "false", source));
        if (checkpoint.config().has("text_config.tie_word_embeddings")) {
            TRY(const std::string inner, json_member(config, "text_config", source));
            TRY(const std::string untied, with_json_member(inner, "tie_word_embeddings", "false", source));
            TRY(config, with_json_member(config, "text_config", untied, source));
        }
    }
    return write_file(folder / "config.json", config);
}

Result<void> copy_small_files(const Folder& from, const fs::path& to) {
    TRY(const std::vector<std::string> names, from.names());
    for (const std::string& name : names) {
        if (name == "config.json" || name == "hf_quant_config.json" || name.starts_with(".")) continue;
        if (std::any_of(kLeftOut.begin(), kLeftOut.end(), [&](auto suffix) { return name.ends_with(suffix); }))
            continue;
        if (!from.has_file(name)) continue;
        TRY(const std::string bytes, from.read(name, kSmallFileLimit_bytes));
        TRY_VOID(write_file(to / name, bytes));
    }
    return {};
}

// Removes the folder unless it was kept.
class Unfinished {
public:
    explicit Unfinished(fs::path folder) : folder_(std::move(folder)) {}
    ~Unfinished() {
        std::error_code ignored;
        if (!folder_.empty()) fs::remove_all(folder_, ignored);
    }
    void keep() { folder_.clear(); }

private:
    fs::path folder_;
};

}  // namespace

Result<QuantizeReport> quantize(const Checkpoint& checkpoint, const std::vector<LinearModule>& modules,
                                const std::vector<Encoding>& encodings, const fs::path& target,
                                const QuantizeOptions& options) {
    fs::path folder = target.lexically_normal();
    if (!folder.has_filename()) folder = folder.parent_path();
    const fs::path partial = folder.string() + ".partial";
    std::error_code failure;
    if (fs::exists(fs::symlink_status(folder, failure)))
        return error(ErrorCode::usage, "{}: exists; name a folder that does not", folder.string());
    if (fs::exists(fs::symlink_status(partial, failure)))
        return error(ErrorCode::usage, "{}: exists, left by a run that was cut off or is at work; remove it first",
                     partial.string());
    if (!fs::create_directories(partial, failure) || failure)
        return error(ErrorCode::io, "{}: cannot be created: {}", partial.string(), failure.message());
    Unfinished unfinished(partial);
    TRY_VOID(write_configs(checkpoint, modules, encodings, partial, options));
    TRY_VOID(copy_small_files(checkpoint.folder(), partial));
    TRY(QuantizeReport report, write_quantized_tensors(checkpoint, modules, encodings, partial, options));
    if (::rename(partial.c_str(), folder.c_str()) != 0)
        return error(ErrorCode::io, "{}: cannot be renamed to {}: {}", partial.string(), folder.string(),
                     std::generic_category().message(errno));
    unfinished.keep();
    return report;
}

}  // namespace nibble::checkpoint
