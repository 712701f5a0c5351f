// Stream: the order in which a device runs what it is given. On the CPU everything runs at once, so it is empty there.
#pragma once

namespace nibble::device {

struct Stream {
    void* handle = nullptr;  // cudaStream_t; null on the CPU
};

}  // namespace nibble::device
