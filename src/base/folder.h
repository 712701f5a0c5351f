// Folder: where files of known names lie: a folder of the file system, or files that were compiled into the program.
//
// What reads a model's files takes a Folder and a name, and never learns which of both it is. Immutable; any thread.
#pragma once

#include "base/files.h"
#include "base/result.h"

#include <concepts>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace nibble {
inline namespace base {

struct EmbeddedFile {
    std::string_view name;
    std::span<const std::byte> bytes;
};

class Folder {
public:
    Folder() = default;
    // Implicit: most folders are paths.
    template <class Path>
    requires(!std::same_as<std::remove_cvref_t<Path>, Folder> && std::convertible_to<Path, std::filesystem::path>)
        Folder(Path&& path)
        : path_(std::forward<Path>(path)) {}
    // `files` outlive every folder.
    static Folder embedded(std::string name, std::span<const EmbeddedFile> files);

    bool is_embedded() const { return embedded_; }
    const std::filesystem::path& path() const { return path_; }  // not of an embedded one: there it is its name
    // Its last component, or an embedded one's name.
    std::string name() const;

    // Whether anything is there under a name: for the file system also what is no file, and a link to nothing.
    bool has(std::string_view name) const;
    bool has_file(std::string_view name) const;
    Result<std::vector<std::string>> names() const;  // sorted; nothing is opened. Errors: io
    // Errors: as File::open; and as read_whole_file.
    Result<File> open(std::string_view name) const;
    Result<std::string> read(std::string_view name, uint64_t limit_bytes) const;

    // For messages: "models/x" and "models/x/config.json"; "demo" and "demo:config.json".
    std::string string() const { return path_.string(); }
    std::string string(std::string_view name) const;

private:
    const EmbeddedFile* find(std::string_view name) const;

    std::filesystem::path path_;
    bool embedded_ = false;
    std::span<const EmbeddedFile> files_;
};

}  // namespace base
}  // namespace nibble
