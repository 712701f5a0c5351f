#include "cli/json_document.h"

#include <nlohmann/json.hpp>

namespace nibble::cli {
namespace {

constexpr int kMostLevels = 64;

}  // namespace

nlohmann::ordered_json parse_document(std::string_view text) {
    using Json = nlohmann::ordered_json;
    bool too_deep = false;
    const auto bounded = [&](int depth, Json::parse_event_t, Json&) {
        too_deep = too_deep || depth > kMostLevels;
        return !too_deep;
    };
    Json document = Json::parse(text.begin(), text.end(), bounded, false);
    return too_deep ? Json(Json::value_t::discarded) : document;
}

}  // namespace nibble::cli
