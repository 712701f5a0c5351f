#include "base/folder.h"

#include <algorithm>
#include <system_error>

namespace nibble {
inline namespace base {

namespace fs = std::filesystem;

Folder Folder::embedded(std::string name, std::span<const EmbeddedFile> files) {
    Folder folder(std::move(name));
    folder.embedded_ = true;
    folder.files_ = files;
    return folder;
}

const EmbeddedFile* Folder::find(std::string_view name) const {
    const auto found =
        std::find_if(files_.begin(), files_.end(), [&](const EmbeddedFile& file) { return file.name == name; });
    return found == files_.end() ? nullptr : &*found;
}

std::string Folder::name() const {
    const fs::path normal = path_.lexically_normal();
    return (normal.filename().empty() ? normal.parent_path() : normal).filename().string();
}

std::string Folder::string(std::string_view name) const {
    return embedded_ ? fmt::format("{}:{}", path_.string(), name) : (path_ / name).string();
}

bool Folder::has(std::string_view name) const {
    if (embedded_) return find(name) != nullptr;
    std::error_code ignored;
    return fs::exists(fs::symlink_status(path_ / name, ignored));
}

bool Folder::has_file(std::string_view name) const {
    if (embedded_) return find(name) != nullptr;
    std::error_code ignored;
    return fs::is_regular_file(path_ / name, ignored);
}

Result<std::vector<std::string>> Folder::names() const {
    std::vector<std::string> names;
    for (const EmbeddedFile& file : files_) names.emplace_back(file.name);
    if (!embedded_) {
        std::error_code failure;
        for (fs::directory_iterator entry(path_, failure), end; !failure && entry != end; entry.increment(failure))
            names.push_back(entry->path().filename().string());
        if (failure) return error(ErrorCode::io, "{}: cannot be listed: {}", path_.string(), failure.message());
    }
    std::sort(names.begin(), names.end());
    return names;
}

Result<File> Folder::open(std::string_view name) const {
    if (!embedded_) return File::open(path_ / name);
    const EmbeddedFile* file = find(name);
    if (file == nullptr) return error(ErrorCode::not_found, "{}: no such file", string(name));
    return File::in_memory(string(name), file->bytes);
}

Result<std::string> Folder::read(std::string_view name, uint64_t limit_bytes) const {
    TRY(const File file, open(name));
    return read_whole_file(file, limit_bytes);
}

}  // namespace base
}  // namespace nibble
