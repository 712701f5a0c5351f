#include "cli/checksum.h"

#include "base/files.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <span>
#include <string_view>
#include <system_error>
#include <vector>

namespace nibble::cli {
namespace {

constexpr size_t kPiece_bytes = size_t{4} << 20;
constexpr uint64_t kSumsLimit_bytes = uint64_t{1} << 20;

bool is_sha256(std::string_view text) {
    return text.size() == 64 && std::all_of(text.begin(), text.end(),
                                            [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

// Lines "sum  name", as sha256sum writes them.
Result<std::map<std::string, std::string>> read_sums(const Folder& folder) {
    constexpr std::string_view kSums = "SHA256SUMS";
    std::map<std::string, std::string> sums;
    if (!folder.has_file(kSums)) return sums;
    TRY(const std::string text, folder.read(kSums, kSumsLimit_bytes));
    for (size_t begin = 0; begin < text.size();) {
        const size_t end = std::min(text.find('\n', begin), text.size());
        const std::string_view line = std::string_view(text).substr(begin, end - begin);
        begin = end + 1;
        if (line.size() > 66 && is_sha256(line.substr(0, 64)) && line[64] == ' ')
            sums[std::string(line.substr(66))] = line.substr(0, 64);
    }
    return sums;
}

std::string hex_digest(EVP_MD_CTX* context) {
    std::array<unsigned char, 32> digest{};
    EVP_DigestFinal_ex(context, digest.data(), nullptr);
    std::string text;
    for (const unsigned char byte : digest) text += fmt::format("{:02x}", byte);
    return text;
}

Result<std::string> sha256(const File& file, const std::function<void(int64_t)>& advance) {
    const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
    if (!context || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1)
        return error(ErrorCode::internal, "SHA-256 is not to be had from OpenSSL");
    std::vector<std::byte> piece(kPiece_bytes);
    for (uint64_t offset = 0; offset < file.size();) {
        const size_t bytes = static_cast<size_t>(std::min<uint64_t>(piece.size(), file.size() - offset));
        TRY_VOID(file.read(offset, std::span(piece).first(bytes)));
        file.drop_from_cache(offset, bytes);
        EVP_DigestUpdate(context.get(), piece.data(), bytes);
        offset += bytes;
        advance(static_cast<int64_t>(bytes));
    }
    return hex_digest(context.get());
}

}  // namespace

Result<Checksums> verify_checksums(const checkpoint::Checkpoint& checkpoint,
                                   const std::function<void(int64_t, int64_t)>& progress) {
    TRY(const auto sums, read_sums(checkpoint.folder()));
    std::vector<File> files;
    int64_t total = 0, done = 0;
    for (const std::string& name : checkpoint.files()) {
        TRY(File file, checkpoint.folder().open(name));
        total += static_cast<int64_t>(file.size());
        files.push_back(std::move(file));
    }
    Checksums result;
    for (size_t i = 0; i < files.size(); ++i) {
        const File& file = files[i];
        const std::string& name = checkpoint.files()[i];
        TRY(std::string found, sha256(file, [&](int64_t bytes) { progress(done += bytes, total); }));
        std::string expected;
        if (!checkpoint.folder().is_embedded()) {
            std::error_code not_a_link;
            const std::filesystem::path target = std::filesystem::read_symlink(file.path(), not_a_link);
            expected = (not_a_link ? file.path() : target).filename().string();
        }
        if (!is_sha256(expected)) {
            const auto listed = sums.find(name);
            expected = listed == sums.end() ? "" : listed->second;
        }
        if (expected.empty()) {
            result.unconfirmed.emplace_back(file.path(), std::move(found));
        } else if (expected != found) {
            return error(ErrorCode::model_invalid, "{}: SHA-256: expected {}, found {}", file.path().string(), expected,
                         found);
        } else {
            ++result.confirmed;
        }
    }
    return result;
}

Result<std::string> hash_of_headers(const Folder& folder) {
    const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
    if (!context || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1)
        return error(ErrorCode::internal, "SHA-256 is not to be had from OpenSSL");
    TRY(const std::vector<std::string> names, folder.names());
    for (const std::string& name : names) {
        const bool tensors = name.ends_with(".safetensors");
        if (!tensors && name != "config.json" && name != "generation_config.json" && name != "hf_quant_config.json" &&
            name != "model.safetensors.index.json")
            continue;
        TRY(const File file, folder.open(name));
        uint64_t bytes = file.size();
        if (tensors) {  // a length in 8 bytes, and so much JSON
            std::array<std::byte, 8> length{};
            TRY_VOID(file.read(0, length));
            uint64_t json_bytes = 0;
            for (size_t i = length.size(); i-- > 0;)
                json_bytes = json_bytes << 8 | std::to_integer<uint64_t>(length[i]);
            if (json_bytes > file.size() - length.size())
                return error(ErrorCode::model_invalid, "{}: its header is {} bytes long, the file {}",
                             folder.string(name), json_bytes, file.size());
            bytes = length.size() + json_bytes;
        }
        const std::string named = fmt::format("{} {}\n", name, bytes);
        EVP_DigestUpdate(context.get(), named.data(), named.size());
        std::vector<std::byte> piece(static_cast<size_t>(std::min<uint64_t>(bytes, kPiece_bytes)));
        for (uint64_t offset = 0; offset < bytes; offset += piece.size()) {
            const auto part =
                std::span(piece).first(static_cast<size_t>(std::min<uint64_t>(piece.size(), bytes - offset)));
            TRY_VOID(file.read(offset, part));
            EVP_DigestUpdate(context.get(), part.data(), part.size());
        }
    }
    return hex_digest(context.get());
}

}  // namespace nibble::cli
