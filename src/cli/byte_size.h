// Sizes on the command line: "24GiB", "512M", "1.5GB", "4096".
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace nibble::cli {

// K M G T and KiB MiB GiB TiB are powers of 1024, KB MB GB TB powers of 1000, no unit is bytes. Nothing when it is no
// size, is negative, or does not fit 63 bits.
std::optional<int64_t> parse_byte_size(std::string_view text);

}  // namespace nibble::cli
