#include "checkpoint/config.h"

#include "base/files.h"
#include "base/in_quotes.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

namespace nibble::checkpoint {
namespace {

namespace dom = simdjson::dom;

constexpr uint64_t kMostBytes = uint64_t{64} << 20;
constexpr size_t kMostDepth = 64;
constexpr size_t kMostValues = size_t{4} << 20;

// JSON has no NaN and no infinities; Python writes them as bare words. Each becomes a string that starts with a byte
// which JSON text cannot hold unescaped, and is turned into a number when the tree is built.
constexpr std::string_view kNumberMark = "\\u0000";
constexpr std::string_view kMarkedNan("\0NaN", 4);
constexpr std::string_view kMarkedInfinity("\0Infinity", 9);
constexpr std::string_view kMarkedMinusInfinity("\0-Infinity", 10);

std::string mark_special_numbers(std::string_view json) {
    std::string out;
    out.reserve(json.size() + 64);
    bool in_string = false;
    for (size_t i = 0; i < json.size();) {
        const char c = json[i];
        if (in_string) {
            const size_t length = c == '\\' && i + 1 < json.size() ? 2 : 1;
            in_string = c != '"';
            out += json.substr(i, length);
            i += length;
            continue;
        }
        in_string = c == '"';
        std::string_view word;
        for (const std::string_view candidate : {"NaN", "Infinity", "-Infinity"})
            if (json.substr(i, candidate.size()) == candidate) word = candidate;
        if (word.empty()) {
            out += c;
            ++i;
        } else {
            out += '"';
            out += kNumberMark;
            out += word;
            out += '"';
            i += word.size();
        }
    }
    return out;
}

}  // namespace

struct Config::Node {
    enum class Kind : uint8_t { null, boolean, integer, number, string, list, object };
    Kind kind = Kind::null;
    bool boolean = false;
    uint32_t first = 0, count = 0;  // children, consecutive in State::nodes
    int64_t integer = 0;
    double number = 0;
    std::string_view name;  // within an object
    std::string_view text;
};

// The tree lies flat, level by level: building and reading it never recurses.
struct Config::State {
    std::string file;
    dom::parser parser;  // holds the strings
    std::vector<Node> nodes;

    std::span<const Node> children(const Node& node) const { return std::span(nodes).subspan(node.first, node.count); }

    // A number, or what transformers writes for one that JSON lacks: {"__float__": "Infinity"}.
    std::optional<double> number(const Node& node) const {
        if (node.kind == Node::Kind::integer || node.kind == Node::Kind::number) return node.number;
        if (node.kind != Node::Kind::object || node.count != 1) return std::nullopt;
        const Node& tagged = children(node)[0];
        if (tagged.name != "__float__" || tagged.kind != Node::Kind::string) return std::nullopt;
        constexpr double kInfinity = std::numeric_limits<double>::infinity();
        if (tagged.text == "Infinity") return kInfinity;
        if (tagged.text == "-Infinity") return -kInfinity;
        if (tagged.text == "NaN") return std::numeric_limits<double>::quiet_NaN();
        return std::nullopt;
    }
    Result<void> build(dom::element root);
};

Result<void> Config::State::build(dom::element root) {
    using Kind = Node::Kind;
    std::vector<dom::element> sources{root};
    nodes.emplace_back();
    std::vector<std::string_view> names;
    const auto append = [&](dom::element element, std::string_view name) {
        sources.push_back(element);
        nodes.emplace_back();
        nodes.back().name = name;
    };
    for (size_t i = 0; i < nodes.size(); ++i) {
        const dom::element source = sources[i];
        Node node = nodes[i];
        node.first = static_cast<uint32_t>(nodes.size());
        switch (source.type()) {
            case dom::element_type::ARRAY:
                node.kind = Kind::list;
                for (const dom::element item : dom::array(source.get_array().value_unsafe())) append(item, {});
                break;
            case dom::element_type::OBJECT:
                node.kind = Kind::object;
                names.clear();
                for (const auto& [name, value] : dom::object(source.get_object().value_unsafe())) {
                    append(value, name);
                    names.push_back(name);
                }
                std::sort(names.begin(), names.end());
                if (!names.empty() && names.front().starts_with('\0'))  // a marked number, or nothing that has a use
                    return error(ErrorCode::model_invalid, "{}: not JSON: a name is no string, or begins with NUL",
                                 file);
                if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end())
                    return error(ErrorCode::model_invalid, "{}: the name {} stands twice in one object", file,
                                 in_quotes(*twice));
                break;
            case dom::element_type::STRING:
                node.kind = Kind::string;
                node.text = source.get_string().value_unsafe();
                if (node.text.starts_with('\0')) {
                    constexpr double kInfinity = std::numeric_limits<double>::infinity();
                    const bool nan = node.text == kMarkedNan, infinity = node.text == kMarkedInfinity;
                    if (nan || infinity || node.text == kMarkedMinusInfinity) {
                        node.kind = Kind::number;
                        node.number = nan        ? std::numeric_limits<double>::quiet_NaN()
                                      : infinity ? kInfinity
                                                 : -kInfinity;
                    }
                }
                break;
            case dom::element_type::INT64:
                node.kind = Kind::integer;
                node.integer = source.get_int64().value_unsafe();
                node.number = static_cast<double>(node.integer);
                break;
            case dom::element_type::UINT64:  // above int64: a number, but no integer that a field may hold
                node.kind = Kind::number;
                node.number = static_cast<double>(source.get_uint64().value_unsafe());
                break;
            case dom::element_type::DOUBLE:
                node.kind = Kind::number;
                node.number = source.get_double().value_unsafe();
                break;
            case dom::element_type::BOOL:
                node.kind = Kind::boolean;
                node.boolean = source.get_bool().value_unsafe();
                break;
            case dom::element_type::NULL_VALUE:
                break;
        }
        if (nodes.size() > kMostValues)
            return error(ErrorCode::model_invalid, "{}: more than {} values", file, kMostValues);
        node.count = static_cast<uint32_t>(nodes.size()) - node.first;
        nodes[i] = node;
    }
    return {};
}

Config::Config(std::shared_ptr<const State> state, const Node* node, std::string prefix)
    : state_(std::move(state)), node_(node), prefix_(std::move(prefix)) {}

Result<Config> Config::load(const std::filesystem::path& file) {
    TRY(const std::string json, read_whole_file(file, kMostBytes));
    return parse(json, file.string());
}

Result<Config> Config::load(const Folder& folder, std::string_view name) {
    TRY(const std::string json, folder.read(name, kMostBytes));
    return parse(json, folder.string(name));
}

Result<Config> Config::parse(std::string_view json, std::string file_name) {
    if (json.size() > kMostBytes)
        return error(ErrorCode::model_invalid, "{}: {} bytes, expected at most {}", file_name, json.size(), kMostBytes);
    std::string marked;
    if (json.find("NaN") != std::string_view::npos || json.find("Infinity") != std::string_view::npos) {
        marked = mark_special_numbers(json);
        json = marked;
    }
    auto state = std::make_shared<State>();
    state->file = std::move(file_name);
    dom::element root;
    auto failure = state->parser.allocate(std::max<size_t>(json.size(), 64), kMostDepth);
    if (!failure) failure = state->parser.parse(json.data(), json.size()).get(root);
    if (failure)
        return error(ErrorCode::model_invalid, "{}: not JSON: {}", state->file, simdjson::error_message(failure));
    if (!root.is_object()) return error(ErrorCode::model_invalid, "{}: expected a JSON object", state->file);
    TRY_VOID(state->build(root));
    const Node* top = state->nodes.data();
    return Config(std::move(state), top, {});
}

const Config::Node* Config::find(std::string_view field) const {
    const Node* node = node_;
    while (node != nullptr && !field.empty()) {
        const size_t dot = field.find('.');
        const std::string_view name = field.substr(0, dot);
        field = dot == std::string_view::npos ? std::string_view() : field.substr(dot + 1);
        if (node->kind != Node::Kind::object) return nullptr;
        const auto children = state_->children(*node);
        const auto found =
            std::find_if(children.begin(), children.end(), [&](const Node& n) { return n.name == name; });
        node = found == children.end() ? nullptr : &*found;
    }
    return node != nullptr && node->kind == Node::Kind::null ? nullptr : node;
}

std::string Config::full_name(std::string_view field) const {
    if (prefix_.empty()) return std::string(field);
    return field.empty() ? prefix_ : prefix_ + "." + std::string(field);
}

const std::string& Config::file() const {
    return state_->file;
}

bool Config::has(std::string_view field) const {
    return find(field) != nullptr;
}

std::string Config::describe(std::string_view field) const {
    const Node* node = find(field);
    if (node == nullptr) return "nothing";
    switch (node->kind) {
        case Node::Kind::null:
            return "null";
        case Node::Kind::boolean:
            return node->boolean ? "true" : "false";
        case Node::Kind::integer:
            return std::to_string(node->integer);
        case Node::Kind::number:
            return fmt::format("{}", node->number);
        case Node::Kind::string:
            return in_quotes(node->text);
        case Node::Kind::list:
            return fmt::format("a list of {}", node->count);
        case Node::Kind::object:
            return "an object";
    }
    return "nothing";
}

Error Config::wrong(std::string_view field, std::string_view expected) const {
    return Error{ErrorCode::model_invalid,
                 fmt::format("{}: {}: expected {}, found {}", file(), full_name(field), expected, describe(field)),
                 full_name(field)};
}

Result<std::optional<int64_t>> Config::optional_int(std::string_view field, int64_t min, int64_t max) const {
    const Node* node = find(field);
    if (node == nullptr) return std::optional<int64_t>();
    if (node->kind != Node::Kind::integer || node->integer < min || node->integer > max)
        return wrong(field, fmt::format("an integer from {} to {}", min, max));
    return std::optional(node->integer);
}

Result<int64_t> Config::require_int(std::string_view field, int64_t min, int64_t max) const {
    TRY(const auto value, optional_int(field, min, max));
    if (!value) return wrong(field, fmt::format("an integer from {} to {}", min, max));
    return *value;
}

Result<std::optional<double>> Config::optional_number(std::string_view field) const {
    const Node* node = find(field);
    if (node == nullptr) return std::optional<double>();
    const std::optional<double> number = state_->number(*node);
    if (!number) return wrong(field, "a number");
    return number;
}

Result<double> Config::require_number(std::string_view field) const {
    TRY(const auto value, optional_number(field));
    if (!value) return wrong(field, "a number");
    return *value;
}

Result<std::optional<bool>> Config::optional_bool(std::string_view field) const {
    const Node* node = find(field);
    if (node == nullptr) return std::optional<bool>();
    if (node->kind != Node::Kind::boolean) return wrong(field, "true or false");
    return std::optional(node->boolean);
}

Result<std::optional<std::string>> Config::optional_string(std::string_view field) const {
    const Node* node = find(field);
    if (node == nullptr) return std::optional<std::string>();
    if (node->kind != Node::Kind::string) return wrong(field, "a string");
    return std::optional(std::string(node->text));
}

Result<std::string> Config::require_string(std::string_view field) const {
    TRY(auto value, optional_string(field));
    if (!value) return wrong(field, "a string");
    return *std::move(value);
}

Result<std::vector<std::string>> Config::string_list(std::string_view field) const {
    std::vector<std::string> values;
    const Node* node = find(field);
    if (node == nullptr) return values;
    if (node->kind != Node::Kind::list) return wrong(field, "a list of strings");
    for (const Node& item : state_->children(*node)) {
        if (item.kind != Node::Kind::string) return wrong(field, "a list of strings alone");
        values.emplace_back(item.text);
    }
    return values;
}

Result<std::vector<double>> Config::number_list(std::string_view field) const {
    std::vector<double> values;
    const Node* node = find(field);
    if (node == nullptr) return values;
    if (node->kind != Node::Kind::list) return wrong(field, "a list of numbers");
    for (const Node& item : state_->children(*node)) {
        const std::optional<double> number = state_->number(item);
        if (!number) return wrong(field, "a list of numbers alone");
        values.push_back(*number);
    }
    return values;
}

Result<std::vector<int64_t>> Config::int_or_list(std::string_view field) const {
    std::vector<int64_t> values;
    const Node* node = find(field);
    if (node == nullptr) return values;
    if (node->kind == Node::Kind::integer) return std::vector{node->integer};
    if (node->kind != Node::Kind::list) return wrong(field, "an integer or a list of integers");
    for (const Node& item : state_->children(*node)) {
        if (item.kind != Node::Kind::integer) return wrong(field, "a list of integers alone");
        values.push_back(item.integer);
    }
    return values;
}

Result<Config> Config::section(std::string_view field) const {
    const Node* node = find(field);
    if (node != nullptr && node->kind != Node::Kind::object) return wrong(field, "an object");
    return Config(state_, node, full_name(field));
}

std::vector<std::string> Config::keys(std::string_view field) const {
    std::vector<std::string> names;
    if (const Node* node = find(field); node != nullptr && node->kind == Node::Kind::object)
        for (const Node& child : state_->children(*node)) names.emplace_back(child.name);
    return names;
}

std::vector<Config> Config::items(std::string_view field) const {
    std::vector<Config> configs;
    const Node* node = find(field);
    if (node == nullptr || node->kind != Node::Kind::list) return configs;
    for (const Node& item : state_->children(*node))
        configs.push_back(Config(state_, &item, fmt::format("{}[{}]", full_name(field), configs.size())));
    return configs;
}

std::vector<std::pair<std::string, Config>> Config::members(std::string_view field) const {
    std::vector<std::pair<std::string, Config>> members;
    const Node* node = find(field);
    if (node == nullptr || node->kind != Node::Kind::object) return members;
    members.reserve(node->count);
    for (const Node& child : state_->children(*node)) {
        std::string name(child.name);
        std::string prefix = full_name(field).empty() ? name : full_name(field) + "." + name;
        members.emplace_back(std::move(name), Config(state_, &child, std::move(prefix)));
    }
    return members;
}

Result<std::vector<std::pair<std::string, std::string>>> Config::string_map(std::string_view field) const {
    std::vector<std::pair<std::string, std::string>> map;
    const Node* node = find(field);
    if (node == nullptr) return map;
    if (node->kind != Node::Kind::object) return wrong(field, "an object of strings");
    map.reserve(node->count);
    for (const Node& child : state_->children(*node)) {
        if (child.kind != Node::Kind::string)
            return error(ErrorCode::model_invalid, "{}: {}: expected an object of strings, found another value at {}",
                         file(), full_name(field), in_quotes(child.name));
        map.emplace_back(child.name, child.text);
    }
    return map;
}

}  // namespace nibble::checkpoint
