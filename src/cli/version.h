// What this binary is: `nibble version`, the user agent of records, /metrics.
#pragma once

#include <string_view>

namespace nibble::cli {

std::string_view version();   // "0.1.0"
std::string_view commit();    // "1ec181a4c0de", "…-dirty", "unknown"
std::string_view compiler();  // "GCC 12.2.0"

}  // namespace nibble::cli
