// checkpoint_probe: what the checkpoint room reads and writes, told to a Python test. One request a line on stdin,
// fields split by tabs; the answer's first line is "ok ..." or "error CODE MESSAGE".
//
//   read FILE                     -> ok N, then N lines: name in hex, dtype, shape, data in hex
//   matches PATTERN MODULE        -> ok 0 or ok 1: modelopt's wildcards; both in hex
//   config FILE                   -> ok: it is JSON as configs are written
//   open FOLDER                   -> ok TENSORS BYTES, opened by headers alone
//   copy FILE FOLDER SHARD_BYTES  -> ok; FILE's tensors written anew by CheckpointWriter
#include "base/files.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/config.h"
#include "checkpoint/module_patterns.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/writer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <iostream>
#include <string>
#include <vector>

namespace {

using namespace nibble;
using namespace nibble::checkpoint;

std::string hex(std::string_view bytes) {
    std::string text;
    for (const char c : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
    return text;
}

std::string from_hex(std::string_view text) {
    std::string bytes;
    for (size_t i = 0; i + 1 < text.size(); i += 2)
        bytes += static_cast<char>(std::stoi(std::string(text.substr(i, 2)), nullptr, 16));
    return bytes;
}

Result<std::string> read_tensor(const File& file, const TensorEntry& tensor) {
    std::string data(tensor.bytes, '\0');
    TRY_VOID(file.read(tensor.offset, std::as_writable_bytes(std::span(data))));
    return data;
}

Result<std::string> read_file(const std::string& path) {
    TRY(const File file, File::open(path));
    TRY(const SafetensorsHeader header, read_safetensors_header(file));
    std::string answer = fmt::format("ok {}\n", header.tensors.size());
    for (const TensorEntry& tensor : header.tensors) {
        TRY(const std::string data, read_tensor(file, tensor));
        answer += fmt::format("{}\t{}\t{}\t{}\n", hex(tensor.name), numeric::safetensors_name(tensor.dtype),
                              fmt::join(tensor.shape, ","), hex(data));
    }
    return answer;
}

Result<std::string> open_folder(const std::string& folder) {
    TRY(const auto checkpoint, Checkpoint::open(folder, {.headers_only = true}));
    return fmt::format("ok {} {}\n", checkpoint->tensors().size(), checkpoint->tensor_bytes());
}

Result<std::string> write_anew(const std::string& path, const std::string& folder, uint64_t shard_bytes) {
    TRY(const File file, File::open(path));
    TRY(const SafetensorsHeader header, read_safetensors_header(file));
    std::vector<TensorDeclaration> declared;
    for (const TensorEntry& tensor : header.tensors) declared.push_back({tensor.name, tensor.dtype, tensor.shape});
    TRY(CheckpointWriter writer, CheckpointWriter::create(folder, declared, shard_bytes));
    for (size_t i = 0; i < header.tensors.size(); ++i) {
        TRY(const std::string data, read_tensor(file, header.tensors[i]));
        TRY_VOID(writer.write(i, 0, std::as_bytes(std::span(data))));
    }
    TRY_VOID(writer.finish());
    return std::string("ok\n");
}

Result<std::string> answer(const std::vector<std::string>& request) {
    if (request.size() == 2 && request[0] == "read") return read_file(request[1]);
    if (request.size() == 3 && request[0] == "matches")
        return fmt::format("ok {:d}\n", wildcard_matches(from_hex(request[1]), from_hex(request[2])));
    if (request.size() == 2 && request[0] == "config") {
        TRY_VOID(Config::load(request[1]));
        return std::string("ok\n");
    }
    if (request.size() == 2 && request[0] == "open") return open_folder(request[1]);
    if (request.size() == 4 && request[0] == "copy") return write_anew(request[1], request[2], std::stoull(request[3]));
    return error(ErrorCode::usage, "no such request");
}

}  // namespace

int main() {
    for (std::string line; std::getline(std::cin, line);) {
        std::vector<std::string> request(1);
        for (const char c : line)
            if (c == '\t')
                request.emplace_back();
            else
                request.back() += c;
        const auto result = answer(request);
        if (result)
            std::cout << *result << std::flush;
        else
            std::cout << "error " << code_name(result.error().code) << ' ' << result.error().message << '\n'
                      << std::flush;
    }
}
