// File: a regular file, or bytes that lie in memory under a name, read by position. Any thread may read.
//
// No file is ever mapped: a file that shrinks under a reader is an Error, not a signal. FIFOs, devices and directories
// are refused before a byte is read, so that nothing blocks.
#pragma once

#include "base/result.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>

namespace nibble {
inline namespace base {

class File {
public:
    // Errors: not_found when there is no regular file of that name (absent, a directory, a FIFO, links in a circle);
    // io when the system refuses it.
    static Result<File> open(const std::filesystem::path& path);
    // Bytes that outlive the program's use of them (compiled in); `name` is what errors call them.
    static File in_memory(std::string name, std::span<const std::byte> bytes);
    ~File();
    File(File&& other) noexcept { *this = std::move(other); }
    File& operator=(File&& other) noexcept;

    const std::filesystem::path& path() const { return path_; }  // in memory: the name
    uint64_t size() const { return size_; }                      // when it was opened

    // Fills `into` from `offset` on. Errors: io; model_invalid when the file ends before.
    Result<void> read(uint64_t offset, std::span<std::byte> into) const;
    // Tells the system that these bytes will not be read again soon: they leave the page cache.
    void drop_from_cache(uint64_t offset, uint64_t bytes) const;

private:
    File() = default;
    std::filesystem::path path_;
    int fd_ = -1;
    const std::byte* memory_ = nullptr;  // in place of fd_
    uint64_t size_ = 0;
};

// The whole of a small file. Errors: as File, and model_invalid when it is larger than limit_bytes.
Result<std::string> read_whole_file(const std::filesystem::path& path, uint64_t limit_bytes);
Result<std::string> read_whole_file(const File& file, uint64_t limit_bytes);

}  // namespace base
}  // namespace nibble
