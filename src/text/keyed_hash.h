// keyed_hash: SipHash-1-3 under a key drawn once a process, for tables whose keys a client chooses.
//
// With a fixed hash a request of a few megabytes of colliding keys costs quadratic time. Any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace nibble::text {

uint64_t keyed_hash(std::string_view bytes);

}  // namespace nibble::text
