#include "server/services.h"

#include "base/in_quotes.h"
#include "server/fields.h"

#include <fmt/format.h>

namespace nibble::server {
namespace {
constexpr int kJsonDepth = 64;
}

void report_fault(const Services& services, std::string_view request_id, const Error& error) {
    if (http_status(error.code) == 500 && services.log)
        services.log(fmt::format("request {} failed: {}", request_id, error.message));
}

Result<void> finish_fields(const Fields& fields, Services& services) {
    if (fields.error()) return *fields.error();
    for (const std::string_view name : fields.ignored()) services.metrics.ignored_field(name);
    const std::vector<std::string_view> unknown = fields.unknown();
    if (!unknown.empty() && services.strict)
        return Error{ErrorCode::invalid_request,
                     fmt::format("{}: is not a field of this request", in_quotes(unknown.front())),
                     std::string(unknown.front().substr(0, 128))};
    if (!unknown.empty()) services.metrics.ignored_field({}, unknown.size());
    return {};
}

Result<text::Value> parse_body(const std::string& body) {
    auto value = text::parse_json(body, kJsonDepth);
    if (!value)
        return Error{ErrorCode::invalid_request, fmt::format("the body is not JSON: {}", value.error().message)};
    if (!value->is_object())
        return Error{ErrorCode::invalid_request,
                     fmt::format("the body must be a JSON object, found {}", describe(*value))};
    return std::move(*value);
}

}  // namespace nibble::server
