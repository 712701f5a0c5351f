#include "checkpoint/json_members.h"

#include <fmt/format.h>

#include <iterator>

namespace nibble::checkpoint {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

// Where the member's value lies in the object's text; with found false, where a new member goes.
struct Place {
    size_t begin = 0, end = 0;
    bool found = false, first = false;  // first: the object is empty
};

// The quote that ends the string beginning at `at`.
size_t end_of_string(std::string_view text, size_t at) {
    for (++at; at < text.size() && text[at] != '"'; ++at)
        if (text[at] == '\\') ++at;
    return at;
}

Result<Place> find_member(std::string_view text, std::string_view member, std::string_view where) {
    const auto invalid = [&] { return error(ErrorCode::model_invalid, "{}: expected a JSON object", where); };
    const std::string wanted = json_string(member);
    size_t at = text.find_first_not_of(kSpace);
    if (at == std::string_view::npos || text[at] != '{') return invalid();
    Place place;
    size_t last = at + 1;  // after the last value
    for (bool first = true;; first = false) {
        at = text.find_first_not_of(kSpace, at + 1);
        if (at == std::string_view::npos) return invalid();
        if (text[at] == '}') {
            place.begin = place.end = last;
            place.first = first;
            return place;
        }
        if (text[at] != '"') return invalid();
        const size_t name_end = end_of_string(text, at);
        if (name_end >= text.size()) return invalid();
        const std::string_view name = text.substr(at, name_end + 1 - at);
        at = text.find_first_not_of(kSpace, name_end + 1);
        if (at == std::string_view::npos || text[at] != ':') return invalid();
        const size_t begin = text.find_first_not_of(kSpace, at + 1);
        if (begin == std::string_view::npos) return invalid();
        int depth = 0;
        for (at = begin; at < text.size(); ++at) {
            const char c = text[at];
            if (c == '"') at = end_of_string(text, at);
            if (c == '{' || c == '[') ++depth;
            if ((c == '}' || c == ']') && --depth < 0) break;
            if (c == ',' && depth == 0) break;
        }
        if (at >= text.size()) return invalid();
        last = text.find_last_not_of(kSpace, at - 1) + 1;
        if (name == wanted) return Place{.begin = begin, .end = last, .found = true};
        if (text[at] == '}') --at;  // seen again as the end
    }
}

}  // namespace

std::string json_string(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
        } else {
            out += c;
        }
    }
    return out + '"';
}

Result<std::string> json_member(std::string_view object, std::string_view member, std::string_view where) {
    TRY(const Place place, find_member(object, member, where));
    if (!place.found) return error(ErrorCode::model_invalid, "{}: expected {}, found nothing", where, member);
    return std::string(object.substr(place.begin, place.end - place.begin));
}

Result<std::string> with_json_member(std::string_view object, std::string_view member, std::string_view value,
                                     std::string_view where) {
    TRY(const Place place, find_member(object, member, where));
    std::string text(object.substr(0, place.begin));
    if (!place.found) text += fmt::format("{}\n  {}: ", place.first ? "" : ",", json_string(member));
    text += value;
    if (place.first) text += '\n';
    return text + std::string(object.substr(place.end));
}

}  // namespace nibble::checkpoint
