#include "checkpoint/writer.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/in_quotes.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <iterator>
#include <numeric>
#include <optional>
#include <string_view>
#include <system_error>
#include <tuple>

namespace nibble::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPartial = ".partial";
constexpr std::string_view kIndex = "model.safetensors.index.json";

Error cannot(std::string_view what, const fs::path& path, int code) {
    return error(ErrorCode::io, "{}: cannot be {}: {}", path.string(), what, std::generic_category().message(code));
}

fs::path partial(const fs::path& path) {
    return path.string() + std::string(kPartial);
}

void append_json_string(std::string& out, std::string_view text) {
    out += '"';
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            fmt::format_to(std::back_inserter(out), "\\u{:04x}", c);
        } else {
            out += c;
        }
    }
    out += '"';
}

Result<void> write_all(int fd, const fs::path& path, uint64_t offset, std::span<const std::byte> data) {
    while (!data.empty()) {
        const size_t most = std::min(data.size(), size_t{1} << 30);
        const ssize_t put = ::pwrite(fd, data.data(), most, static_cast<off_t>(offset));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return cannot("written", path, errno);
        data = data.subspan(static_cast<size_t>(put));
        offset += static_cast<uint64_t>(put);
    }
    return {};
}

Result<void> flush_folder(const fs::path& folder) {
    const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return cannot("opened", folder, errno);
    const bool done = ::fsync(fd) == 0 || errno == EINVAL;  // some file systems have nothing to flush there
    const int code = errno;
    ::close(fd);
    if (!done) return cannot("flushed", folder, code);
    return {};
}

}  // namespace

struct CheckpointWriter::State {
    struct Placed {
        uint64_t bytes = 0;
        size_t shard = 0;
        uint64_t offset = 0;  // from the start of the file
    };
    struct Shard {
        fs::path path;  // its last name
        int fd = -1;
        std::vector<size_t> tensors;
    };

    fs::path folder;
    std::vector<TensorDeclaration> tensors;
    std::vector<Placed> placed;  // as tensors
    std::vector<Shard> shards;
    uint64_t total_bytes = 0;
    std::atomic<uint64_t> written_bytes{0};
    bool finished = false;

    ~State() {
        for (const Shard& shard : shards) {
            if (shard.fd >= 0) ::close(shard.fd);
            std::error_code ignored;
            if (!finished) fs::remove(partial(shard.path), ignored);
        }
    }
    Result<void> place(uint64_t shard_bytes);
    Result<void> open_shard(Shard& shard);
    Result<void> write_index() const;
};

Result<void> CheckpointWriter::State::place(uint64_t shard_bytes) {
    placed.resize(tensors.size());
    uint64_t in_shard = 0;
    for (size_t i = 0; i < tensors.size(); ++i) {
        std::optional<int64_t> bytes = numeric::size_bytes(tensors[i].dtype);
        for (const int64_t extent : tensors[i].shape) {
            CHECK(extent >= 0, "{}: negative extent {}", tensors[i].name, extent);
            if (bytes) bytes = checked_multiply(*bytes, extent);
        }
        CHECK(bytes, "{}: shape [{}] overflows", tensors[i].name, fmt::join(tensors[i].shape, ", "));
        placed[i].bytes = static_cast<uint64_t>(*bytes);
        if (shards.empty() || (in_shard > 0 && placed[i].bytes > shard_bytes - std::min(shard_bytes, in_shard))) {
            shards.emplace_back();
            in_shard = 0;
        }
        placed[i].shard = shards.size() - 1;
        shards.back().tensors.push_back(i);
        in_shard += placed[i].bytes;
        total_bytes += placed[i].bytes;
    }
    if (shards.empty()) shards.emplace_back();  // a model of no tensors is a file of no tensors
    for (size_t i = 0; i < shards.size(); ++i)
        shards[i].path =
            folder / (shards.size() == 1 ? "model.safetensors"
                                         : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size()));
    return {};
}

// Writes the header and reserves the data's room, so that a full disk is met here.
Result<void> CheckpointWriter::State::open_shard(Shard& shard) {
    // Large elements first, as the reference writer does: every tensor is then aligned to its element.
    std::sort(shard.tensors.begin(), shard.tensors.end(), [&](size_t a, size_t b) {
        return std::tuple(-numeric::size_bytes(tensors[a].dtype), std::string_view(tensors[a].name)) <
               std::tuple(-numeric::size_bytes(tensors[b].dtype), std::string_view(tensors[b].name));
    });
    std::string header = R"({"__metadata__":{"format":"pt"})";
    uint64_t offset = 0;
    for (const size_t i : shard.tensors) {
        header += ',';
        append_json_string(header, tensors[i].name);
        fmt::format_to(std::back_inserter(header), R"(:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                       numeric::safetensors_name(tensors[i].dtype), fmt::join(tensors[i].shape, ","), offset,
                       offset + placed[i].bytes);
        placed[i].offset = offset;
        offset += placed[i].bytes;
    }
    header += '}';
    header.resize((header.size() + 7) / 8 * 8, ' ');
    const uint64_t data_begin = 8 + header.size();
    for (const size_t i : shard.tensors) placed[i].offset += data_begin;

    const fs::path path = partial(shard.path);
    shard.fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (shard.fd < 0) return cannot("created", path, errno);
    std::byte length[8];
    for (size_t i = 0; i < 8; ++i) length[i] = static_cast<std::byte>(header.size() >> (8 * i));
    TRY_VOID(write_all(shard.fd, path, 0, length));
    TRY_VOID(write_all(shard.fd, path, 8, std::as_bytes(std::span(header))));
    if (offset > 0) {
        const int code = ::posix_fallocate(shard.fd, static_cast<off_t>(data_begin), static_cast<off_t>(offset));
        if (code != 0 && code != EOPNOTSUPP && code != EINVAL) return cannot("given room", path, code);
    }
    return {};
}

Result<void> CheckpointWriter::State::write_index() const {
    std::vector<size_t> order(tensors.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return tensors[a].name < tensors[b].name; });
    std::string json =
        fmt::format("{{\n  \"metadata\": {{\n    \"total_size\": {}\n  }},\n  \"weight_map\": {{", total_bytes);
    for (const size_t i : order) {
        json += i == order.front() ? "\n    " : ",\n    ";
        append_json_string(json, tensors[i].name);
        json += ": ";
        append_json_string(json, shards[placed[i].shard].path.filename().string());
    }
    json += "\n  }\n}\n";
    const fs::path path = folder / kIndex;
    const int fd = ::open(partial(path).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) return cannot("created", partial(path), errno);
    auto done = write_all(fd, partial(path), 0, std::as_bytes(std::span(json)));
    if (done && ::fsync(fd) != 0) done = cannot("flushed", partial(path), errno);
    ::close(fd);
    if (done && ::rename(partial(path).c_str(), path.c_str()) != 0) done = cannot("renamed", partial(path), errno);
    std::error_code ignored;
    if (!done) fs::remove(partial(path), ignored);
    return done;
}

CheckpointWriter::CheckpointWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
CheckpointWriter::~CheckpointWriter() = default;
CheckpointWriter::CheckpointWriter(CheckpointWriter&&) noexcept = default;
CheckpointWriter& CheckpointWriter::operator=(CheckpointWriter&&) noexcept = default;

Result<CheckpointWriter> CheckpointWriter::create(const fs::path& folder, std::vector<TensorDeclaration> tensors,
                                                  uint64_t shard_bytes) {
    std::error_code failure;
    fs::create_directories(folder, failure);
    if (failure) return cannot("created", folder, failure.value());
    for (fs::directory_iterator entry(folder, failure), end; !failure && entry != end; entry.increment(failure)) {
        const std::string name = entry->path().filename().string();
        if (name == kIndex || name.ends_with(".safetensors"))
            return error(ErrorCode::model_invalid, "{}: holds weights already ({}); write to an empty folder",
                         folder.string(), in_quotes(name));
    }
    if (failure) return cannot("listed", folder, failure.value());
    std::vector<std::string_view> names;
    for (const TensorDeclaration& tensor : tensors) names.push_back(tensor.name);
    std::sort(names.begin(), names.end());
    if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end())
        return error(ErrorCode::model_invalid, "{}: tensor {} is declared twice", folder.string(), in_quotes(*twice));

    auto state = std::make_unique<State>();
    state->folder = folder;
    state->tensors = std::move(tensors);
    TRY_VOID(state->place(shard_bytes));
    for (State::Shard& shard : state->shards) TRY_VOID(state->open_shard(shard));
    return CheckpointWriter(std::move(state));
}

uint64_t CheckpointWriter::total_bytes() const {
    return state_->total_bytes;
}

Result<void> CheckpointWriter::write(size_t tensor, uint64_t offset, std::span<const std::byte> data) {
    CHECK(tensor < state_->placed.size() && !state_->finished);
    const State::Placed& place = state_->placed[tensor];
    CHECK(offset <= place.bytes && data.size() <= place.bytes - offset, "{}: bytes {} + {} of {}",
          state_->tensors[tensor].name, offset, data.size(), place.bytes);
    const State::Shard& shard = state_->shards[place.shard];
    TRY_VOID(write_all(shard.fd, partial(shard.path), place.offset + offset, data));
    state_->written_bytes += data.size();
    return {};
}

Result<void> CheckpointWriter::finish() {
    State& state = *state_;
    CHECK(!state.finished && state.written_bytes == state.total_bytes, "{} of {} bytes were written",
          state.written_bytes.load(), state.total_bytes);
    for (const State::Shard& shard : state.shards)
        if (::fsync(shard.fd) != 0) return cannot("flushed", partial(shard.path), errno);
    for (const State::Shard& shard : state.shards)
        if (::rename(partial(shard.path).c_str(), shard.path.c_str()) != 0)
            return cannot("renamed", partial(shard.path), errno);
    TRY_VOID(flush_folder(state.folder));
    if (state.shards.size() > 1) {
        TRY_VOID(state.write_index());
        TRY_VOID(flush_folder(state.folder));
    }
    state.finished = true;
    return {};
}

}  // namespace nibble::checkpoint
