// Any bytes as JSON: what is read is written, read again, and written the same.
#include "text/value.h"

#include <cstdint>
#include <cstdlib>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace nibble::text;
    const auto value = parse_json({reinterpret_cast<const char*>(data), size});
    if (!value) return 0;
    const std::string json = to_json(*value);
    if (json.find("Infinity") != std::string::npos) return 0;  // Python writes it and JSON has no such number
    const auto again = parse_json(json);
    if (!again || to_json(*again) != json) std::abort();
    (void)to_json(*value, 2);
    return 0;
}
