// JsonDocument: text of others as JSON, bounded in depth, so that whatever walks it afterwards may recurse.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string_view>

namespace nibble::cli {

// "Discarded" (is_discarded()) when it is no JSON or nested more than 64 deep. Never throws.
nlohmann::ordered_json parse_document(std::string_view text);

}  // namespace nibble::cli
