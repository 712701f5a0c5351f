#include "text/tokenizer/json_field.h"

namespace nibble::text {

Error JsonField::expected(std::string_view what) const {
    return error(ErrorCode::model_invalid, "{}: {}: expected {}, found {}", file, path.empty() ? "the file" : path,
                 what, found());
}

Error JsonField::unsupported(std::string_view what, std::string_view supported) const {
    return error(ErrorCode::unsupported, "{}: {}: {} is not supported; supported: {}", file, path, what, supported);
}

Error JsonField::at_this_place(Error error) const {
    error.message = fmt::format("{}: {}: {}", file, path, error.message);
    return error;
}

std::string JsonField::found() const {
    using Type = simdjson::dom::element_type;
    constexpr size_t kShown = 40;
    switch (value.type()) {
        case Type::ARRAY:
            return fmt::format("an array of {}", simdjson::dom::array(value.get_array().value_unsafe()).size());
        case Type::OBJECT:
            return "an object";
        case Type::INT64:
            return fmt::format("{}", value.get_int64().value_unsafe());
        case Type::UINT64:
            return fmt::format("{}", value.get_uint64().value_unsafe());
        case Type::DOUBLE:
            return fmt::format("{}", value.get_double().value_unsafe());
        case Type::STRING: {
            std::string_view text = value.get_string().value_unsafe();
            if (text.size() <= kShown) return fmt::format("\"{}\"", text);
            size_t end = kShown;
            while (end > 0 && (text[end] & 0xC0) == 0x80) end--;
            return fmt::format("\"{}…\"", text.substr(0, end));
        }
        case Type::BOOL:
            return value.get_bool().value_unsafe() ? "true" : "false";
        case Type::NULL_VALUE:
            return "null";
    }
    return "something else";
}

Result<std::string_view> JsonField::string() const {
    std::string_view text;
    if (value.get_string().get(text) != simdjson::SUCCESS) return expected("a string");
    return text;
}

Result<bool> JsonField::boolean() const {
    bool b = false;
    if (value.get_bool().get(b) != simdjson::SUCCESS) return expected("true or false");
    return b;
}

Result<int64_t> JsonField::integer(int64_t least, int64_t most) const {
    int64_t n = 0;
    if (value.get_int64().get(n) != simdjson::SUCCESS || n < least || n > most) {
        return expected(fmt::format("an integer from {} to {}", least, most));
    }
    return n;
}

Result<simdjson::dom::object> JsonField::object() const {
    simdjson::dom::object object;
    if (value.get_object().get(object) != simdjson::SUCCESS) return expected("an object");
    return object;
}

Result<simdjson::dom::array> JsonField::array() const {
    simdjson::dom::array array;
    if (value.get_array().get(array) != simdjson::SUCCESS) return expected("an array");
    return array;
}

Result<std::vector<JsonField>> JsonField::elements() const {
    TRY(const auto items, array());
    std::vector<JsonField> fields;
    for (const auto element : items) fields.push_back(at(fields.size(), element));
    return fields;
}

std::optional<JsonField> JsonField::find(std::string_view key) const {
    simdjson::dom::element element;
    if (!is_object() || value.at_key(key).get(element) != simdjson::SUCCESS || element.is_null()) return std::nullopt;
    return at(key, element);
}

Result<JsonField> JsonField::child(std::string_view key) const {
    if (!is_object()) return expected("an object");
    simdjson::dom::element element;
    if (value.at_key(key).get(element) != simdjson::SUCCESS) {
        return error(ErrorCode::model_invalid, "{}: {}: expected the field, found none", file,
                     path.empty() ? std::string(key) : fmt::format("{}.{}", path, key));
    }
    return at(key, element);
}

Result<std::string_view> JsonField::string(std::string_view key) const {
    TRY(const JsonField field, child(key));
    return field.string();
}

Result<bool> JsonField::boolean(std::string_view key) const {
    TRY(const JsonField field, child(key));
    return field.boolean();
}

Result<bool> JsonField::boolean(std::string_view key, bool otherwise) const {
    const auto field = find(key);
    if (!field) return otherwise;
    return field->boolean();
}

JsonField JsonField::at(std::string_view key, simdjson::dom::element element) const {
    return {file, path.empty() ? std::string(key) : fmt::format("{}.{}", path, key), element};
}

JsonField JsonField::at(size_t index, simdjson::dom::element element) const {
    return {file, fmt::format("{}[{}]", path, index), element};
}

}  // namespace nibble::text
