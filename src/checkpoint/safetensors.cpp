#include "checkpoint/safetensors.h"

#include "base/bytes.h"
#include "base/in_quotes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <simdjson.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

namespace nibble::checkpoint {
namespace {

namespace dom = simdjson::dom;

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMostHeaderBytes = 100'000'000;
constexpr size_t kMostDepth = 16;  // the format needs three
constexpr std::string_view kMetadata = "__metadata__";
constexpr std::string_view kLfsPointer = "version https://git-lfs";

uint64_t little_endian(std::span<const std::byte, kLengthBytes> bytes) {
    uint64_t value = 0;
    for (size_t i = 0; i < kLengthBytes; ++i) value |= std::to_integer<uint64_t>(bytes[i]) << (8 * i);
    return value;
}

// Says what the file is when its first bytes make no header length.
std::optional<std::string> recognise(std::string_view head) {
    if (head.starts_with(kLfsPointer))
        return "a Git LFS pointer, not the file that it stands for; fetch the file itself (git lfs pull)";
    if (head.starts_with("PK\x03\x04")) return "a zip archive (a PyTorch file?); nibble reads safetensors";
    if (head.starts_with("GGUF")) return "a GGUF file; nibble reads safetensors";
    if (head.starts_with("<!DOC") || head.starts_with("<html")) return "an HTML page: the download failed";
    if (head.starts_with("{")) return "JSON; a safetensors file begins with the length of its header";
    return std::nullopt;
}

// Reads one header. The entries' names are checked for doubles by the caller, once they are all there.
class HeaderReader {
public:
    explicit HeaderReader(const std::string& file) : file_(file) {}

    Result<std::vector<TensorEntry>> read(dom::object header) {
        std::vector<TensorEntry> tensors;
        tensors.reserve(header.size());
        bool metadata = false;
        for (const auto& [name, value] : header) {
            if (name == kMetadata) {
                if (std::exchange(metadata, true)) return wrong(name, "", "one entry", "two");
                TRY_VOID(check_metadata(value));
                continue;
            }
            TRY(TensorEntry entry, read_tensor(name, value));
            tensors.push_back(std::move(entry));
        }
        return tensors;
    }

private:
    Error wrong(std::string_view tensor, std::string_view field, std::string_view expected,
                std::string_view found) const {
        return error(ErrorCode::model_invalid, "{}: tensor {}: {}expected {}, found {}", file_, in_quotes(tensor),
                     field.empty() ? "" : fmt::format("{}: ", field), expected, found);
    }

    // Field by field, so that a field that stands twice is seen.
    Result<TensorEntry> read_tensor(std::string_view name, dom::element value) const {
        dom::object fields;
        if (value.get_object().get(fields)) return wrong(name, "", "an object", "another value");
        std::optional<std::string_view> dtype;
        std::optional<dom::array> shape, offsets;
        for (const auto& [field, content] : fields) {
            bool twice = false, misread = false;
            if (field == "dtype") {
                twice = dtype.has_value();
                misread = content.get_string().get(dtype.emplace());
            } else if (field == "shape") {
                twice = shape.has_value();
                misread = content.get_array().get(shape.emplace());
            } else if (field == "data_offsets") {
                twice = offsets.has_value();
                misread = content.get_array().get(offsets.emplace());
            }
            if (twice) return wrong(name, field, "it once", "it twice");
            if (misread) return wrong(name, field, field == "dtype" ? "a string" : "a list", "another value");
        }
        if (!dtype) return wrong(name, "dtype", "a string", "nothing");
        if (!shape) return wrong(name, "shape", "a list", "nothing");
        if (!offsets) return wrong(name, "data_offsets", "a list", "nothing");

        TensorEntry entry;
        entry.name = name;
        const auto known = numeric::parse_safetensors_dtype(*dtype);
        if (!known)
            return error(ErrorCode::unsupported, "{}: tensor {}: dtype {} is not one that nibble reads", file_,
                         in_quotes(name), in_quotes(*dtype));
        entry.dtype = *known;
        for (const dom::element extent : *shape) {
            uint64_t size = 0;
            if (extent.get_uint64().get(size) || size > static_cast<uint64_t>(INT64_MAX))
                return wrong(name, "shape", "integers from 0 on", "another value");
            entry.shape.push_back(static_cast<int64_t>(size));
        }
        uint64_t ends[2];
        size_t count = 0;
        for (const dom::element end : *offsets) {
            if (count == 2) return wrong(name, "data_offsets", "two integers", "more");
            if (end.get_uint64().get(ends[count++]))
                return wrong(name, "data_offsets", "integers from 0 on", "another value");
        }
        if (count < 2) return wrong(name, "data_offsets", "two integers", "fewer");
        if (ends[1] < ends[0])
            return wrong(name, "data_offsets", "an end behind the begin", fmt::format("[{}, {}]", ends[0], ends[1]));
        entry.offset = ends[0];  // from the start of the data for now
        entry.bytes = ends[1] - ends[0];
        TRY_VOID(check_size(entry));
        return entry;
    }

    Result<void> check_size(const TensorEntry& entry) const {
        // A zero extent makes the product 0, but the others must still multiply without overflow: elements() does.
        std::optional<int64_t> bytes = numeric::size_bytes(entry.dtype);
        for (const int64_t extent : entry.shape)
            if (bytes) bytes = checked_multiply(*bytes, extent);
        if (!bytes)
            return wrong(entry.name, "shape", "fewer than 2^63 bytes",
                         fmt::format("[{}]", fmt::join(entry.shape, ", ")));
        if (static_cast<uint64_t>(*bytes) != entry.bytes)
            return wrong(entry.name, "data_offsets",
                         fmt::format("{} bytes for {} [{}]", *bytes, numeric::safetensors_name(entry.dtype),
                                     fmt::join(entry.shape, ", ")),
                         fmt::format("{}", entry.bytes));
        return {};
    }

    Result<void> check_metadata(dom::element value) const {
        if (value.is_null()) return {};
        dom::object entries;
        if (value.get_object().get(entries)) return wrong(kMetadata, "", "an object of strings", "another value");
        for (const auto& [name, text] : entries)
            if (!text.is_string()) return wrong(kMetadata, name, "a string", "another value");
        return {};
    }

    const std::string& file_;
};

// Tensors in the order of their data; the data must be covered from its first byte to its last, each byte once.
Result<uint64_t> check_cover(std::vector<TensorEntry>& tensors, const std::string& file) {
    std::sort(tensors.begin(), tensors.end(), [](const TensorEntry& a, const TensorEntry& b) {
        return std::tie(a.offset, a.bytes, a.name) < std::tie(b.offset, b.bytes, b.name);
    });
    uint64_t end = 0;
    for (const TensorEntry& tensor : tensors) {
        if (tensor.offset != end)
            return error(
                ErrorCode::model_invalid,
                "{}: tensor {}: data_offsets: expected to begin at byte {}, where the tensor before ends, found {}",
                file, in_quotes(tensor.name), end, tensor.offset);
        end += tensor.bytes;  // no overflow: offset + bytes was a uint64 in the header
    }
    return end;
}

Result<void> check_names(const std::vector<TensorEntry>& tensors, const std::string& file) {
    std::vector<std::string_view> names;
    names.reserve(tensors.size());
    for (const TensorEntry& tensor : tensors) names.push_back(tensor.name);
    std::sort(names.begin(), names.end());
    if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end())
        return error(ErrorCode::model_invalid, "{}: tensor {} stands twice in the header", file, in_quotes(*twice));
    return {};
}

}  // namespace

Result<SafetensorsHeader> read_safetensors_header(const std::filesystem::path& file, bool headers_only_file) {
    TRY(const File opened, File::open(file));
    return read_safetensors_header(opened, headers_only_file);
}

Result<SafetensorsHeader> read_safetensors_header(const File& file, bool headers_only_file) {
    const std::string name = file.path().string();
    const auto invalid = [&](const std::string& what) { return Error{ErrorCode::model_invalid, name + ": " + what}; };
    if (file.size() < kLengthBytes)
        return invalid(fmt::format("{} bytes, expected at least the 8 of a safetensors header length", file.size()));
    std::byte head[64] = {};
    const size_t head_bytes = std::min<uint64_t>(sizeof head, file.size());
    TRY_VOID(file.read(0, std::span(head, head_bytes)));
    const uint64_t length = little_endian(std::span<const std::byte, kLengthBytes>(head, kLengthBytes));
    if (length == 0) return invalid("the header length is 0: the file is empty or was never written");
    if (length > kMostHeaderBytes) {
        if (const auto other = recognise(std::string_view(reinterpret_cast<const char*>(head), head_bytes)))
            return invalid("expected a safetensors file, found " + *other);
        return invalid(fmt::format("header length {}, expected at most {}", length, kMostHeaderBytes));
    }
    if (length > file.size() - kLengthBytes)
        return invalid(
            fmt::format("truncated: header of {} bytes expected, the file has {} bytes in all", length, file.size()));

    std::unique_ptr<char[]> json(new char[length + simdjson::SIMDJSON_PADDING]());
    TRY_VOID(file.read(kLengthBytes, std::as_writable_bytes(std::span(json.get(), length))));
    if (std::all_of(json.get(), json.get() + length, [](char c) { return c == 0; }))
        return invalid("the header is all zeros: the file was never written whole");
    // The reference reader wants the brace at once; spaces may follow the object, not precede it.
    if (json[0] != '{') return invalid("the header does not begin with '{'");

    dom::parser parser;
    dom::object object;
    auto failure = parser.allocate(std::max<size_t>(length, 64), kMostDepth);
    if (!failure) failure = parser.parse(json.get(), length, false).get_object().get(object);
    if (failure) return invalid(fmt::format("the header is not a JSON object: {}", simdjson::error_message(failure)));

    SafetensorsHeader header;
    TRY(header.tensors, HeaderReader(name).read(object));
    TRY_VOID(check_names(header.tensors, name));
    TRY(const uint64_t data_bytes, check_cover(header.tensors, name));
    const uint64_t data_begin = kLengthBytes + length;
    const auto total = checked_add(data_begin, data_bytes);
    if (!total || *total > static_cast<uint64_t>(INT64_MAX))
        return invalid(fmt::format("data of {} bytes, more than a file can hold", data_bytes));
    header.file_bytes = *total;
    if (file.size() < header.file_bytes && !headers_only_file) {
        const auto cut = std::find_if(header.tensors.begin(), header.tensors.end(), [&](const TensorEntry& tensor) {
            return data_begin + tensor.offset + tensor.bytes > file.size();
        });
        return invalid(fmt::format("truncated: {} bytes expected, found {}; tensor {} is cut off", header.file_bytes,
                                   file.size(), in_quotes(cut->name)));
    }
    if (file.size() > header.file_bytes)
        return invalid(fmt::format("{} bytes expected, found {}: {} too many behind the last tensor", header.file_bytes,
                                   file.size(), file.size() - header.file_bytes));
    for (TensorEntry& tensor : header.tensors) tensor.offset += data_begin;
    return header;
}

}  // namespace nibble::checkpoint
