#include "base/files.h"

#include "base/bytes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace nibble {
inline namespace base {
namespace {

std::string reason(int code) {
    return std::generic_category().message(code);
}

Error cannot_open(const std::filesystem::path& path, int code) {
    switch (code) {
        case ENOENT:
        case ENOTDIR:
            return error(ErrorCode::not_found, "{}: no such file", path.string());
        case ELOOP:
            return error(ErrorCode::not_found, "{}: symbolic links that lead in a circle", path.string());
        case ENXIO:
            return error(ErrorCode::not_found, "{}: expected a file, found a socket or a device", path.string());
        case EMFILE:
            return error(ErrorCode::io, "{}: this process may open no more files (see ulimit -n)", path.string());
        default:
            return error(ErrorCode::io, "{}: cannot be opened: {}", path.string(), reason(code));
    }
}

std::string_view kind(mode_t mode) {
    if (S_ISDIR(mode)) return "a folder";
    if (S_ISFIFO(mode)) return "a FIFO";
    if (S_ISSOCK(mode)) return "a socket";
    return "a device";
}

}  // namespace

Result<File> File::open(const std::filesystem::path& path) {
    // Asked before opening, because opening a device can have effects; asked again after, because names can change.
    struct stat status;
    if (::stat(path.c_str(), &status) != 0) return cannot_open(path, errno);
    if (S_ISREG(status.st_mode)) {
        File file;
        do {
            file.fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        } while (file.fd_ < 0 && errno == EINTR);
        if (file.fd_ < 0) return cannot_open(path, errno);
        if (::fstat(file.fd_, &status) != 0) return cannot_open(path, errno);
        if (S_ISREG(status.st_mode)) {
            file.path_ = path;
            file.size_ = static_cast<uint64_t>(status.st_size);
            return file;
        }
    }
    return error(ErrorCode::not_found, "{}: expected a file, found {}", path.string(), kind(status.st_mode));
}

File File::in_memory(std::string name, std::span<const std::byte> bytes) {
    File file;
    file.path_ = std::move(name);
    file.memory_ = bytes.data();
    file.size_ = bytes.size();
    return file;
}

File::~File() {
    if (fd_ >= 0) ::close(fd_);
}

File& File::operator=(File&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(fd_, other.fd_);
    std::swap(memory_, other.memory_);
    std::swap(size_, other.size_);
    return *this;
}

Result<void> File::read(uint64_t offset, std::span<std::byte> into) const {
    constexpr size_t kMost = size_t{1} << 30;  // Linux moves at most 2 GiB a call
    const auto end = checked_add<uint64_t>(offset, into.size());
    if (!end || *end > static_cast<uint64_t>(INT64_MAX))
        return error(ErrorCode::model_invalid, "{}: byte {} + {} lies outside any file", path_.string(), offset,
                     into.size());
    if (fd_ < 0) {
        if (*end > size_)
            return error(ErrorCode::model_invalid, "{}: the file ends at byte {}, expected {} bytes from {} on",
                         path_.string(), size_, into.size(), offset);
        if (!into.empty()) std::memcpy(into.data(), memory_ + offset, into.size());
        return {};
    }
    while (!into.empty()) {
        const ssize_t got = ::pread(fd_, into.data(), std::min(into.size(), kMost), static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return error(ErrorCode::io, "{}: byte {} cannot be read: {}", path_.string(), offset, reason(errno));
        if (got == 0) {
            struct stat now;
            const uint64_t end = ::fstat(fd_, &now) == 0 ? static_cast<uint64_t>(now.st_size) : offset;
            return error(ErrorCode::model_invalid,
                         "{}: the file ends at byte {}, expected {} bytes from {} on (it had {} when opened)",
                         path_.string(), end, into.size(), offset, size_);
        }
        into = into.subspan(static_cast<size_t>(got));
        offset += static_cast<uint64_t>(got);
    }
    return {};
}

void File::drop_from_cache(uint64_t offset, uint64_t bytes) const {
    if (fd_ >= 0)
        (void)::posix_fadvise(fd_, static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_DONTNEED);
}

Result<std::string> read_whole_file(const std::filesystem::path& path, uint64_t limit_bytes) {
    TRY(const File file, File::open(path));
    return read_whole_file(file, limit_bytes);
}

Result<std::string> read_whole_file(const File& file, uint64_t limit_bytes) {
    if (file.size() > limit_bytes)
        return error(ErrorCode::model_invalid, "{}: {}, expected at most {}", file.path().string(),
                     describe_bytes(file.size()), describe_bytes(limit_bytes));
    std::string text(file.size(), '\0');
    TRY_VOID(file.read(0, std::as_writable_bytes(std::span(text))));
    return text;
}

}  // namespace base
}  // namespace nibble
