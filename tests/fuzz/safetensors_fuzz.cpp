// The safetensors header reader on any bytes: refused, or a header whose tensors lie within the file.
#include "checkpoint/safetensors.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace nibble::checkpoint;
    const int fd = memfd_create("safetensors", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != static_cast<ssize_t>(size)) std::abort();
    const auto path = "/proc/self/fd/" + std::to_string(fd);
    for (const bool headers_only : {false, true}) {
        const auto header = read_safetensors_header(path, headers_only);
        if (!header) continue;
        if (headers_only ? header->file_bytes < size : header->file_bytes != size) std::abort();
        uint64_t covered = 0;
        for (const TensorEntry& tensor : header->tensors) {
            if (tensor.offset + tensor.bytes > header->file_bytes) std::abort();
            if (static_cast<uint64_t>(tensor.elements() * nibble::numeric::size_bytes(tensor.dtype)) != tensor.bytes)
                std::abort();
            covered += tensor.bytes;
        }
        if (covered > header->file_bytes) std::abort();
    }
    close(fd);
    return 0;
}
