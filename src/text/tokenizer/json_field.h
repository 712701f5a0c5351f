// JsonField: a value inside a JSON file that knows its place, so that every complaint names file, field, what was
// expected and what was found. Only the files that read tokenizer.json include this (simdjson is a heavy header).
#pragma once

#include "base/result.h"

#include <simdjson.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::text {

struct JsonField {
    std::string_view file;
    std::string path;  // "model.merges[3]"; empty for the whole file
    simdjson::dom::element value;

    // "file: path: expected …, found …", model_invalid.
    Error expected(std::string_view what) const;
    // "file: path: … is not supported; supported: …".
    Error unsupported(std::string_view what, std::string_view supported) const;
    // An error from elsewhere with file and path put before it.
    Error at_this_place(Error error) const;
    std::string found() const;  // the value in a few words

    bool is_null() const { return value.is_null(); }
    bool is_object() const { return value.is_object(); }
    bool is_array() const { return value.is_array(); }
    bool is_string() const { return value.is_string(); }

    Result<std::string_view> string() const;
    Result<bool> boolean() const;
    Result<int64_t> integer(int64_t least, int64_t most) const;
    Result<simdjson::dom::object> object() const;
    Result<simdjson::dom::array> array() const;
    Result<std::vector<JsonField>> elements() const;  // of an array

    std::optional<JsonField> find(std::string_view key) const;  // nothing when absent or null, or this is no object
    Result<JsonField> child(std::string_view key) const;        // required
    Result<std::string_view> string(std::string_view key) const;
    Result<bool> boolean(std::string_view key) const;
    Result<bool> boolean(std::string_view key, bool otherwise) const;

    JsonField at(std::string_view key, simdjson::dom::element element) const;
    JsonField at(size_t index, simdjson::dom::element element) const;
};

}  // namespace nibble::text
