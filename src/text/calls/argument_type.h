// ArgumentType: what a tool's JSON schema says of a parameter, and text converted by it to JSON.
#pragma once

#include "text/value.h"

#include <string>
#include <string_view>

namespace nibble::text::calls {

class ArgumentType {
public:
    // Of a schema; null (an unknown parameter) and a schema without a type are strings.
    explicit ArgumentType(const Value* schema);

    // Whether any text is a value as it stands, so that it can be passed on before its end is known.
    bool is_plain_string() const { return string_ && !null_ && !integer_ && !number_ && !boolean_ && !json_; }
    // The text as a JSON value: null in any case where null is allowed or the type is no string; numbers, booleans,
    // objects and arrays (as JSON, or as Python writes them) where the schema has them; else a string.
    std::string convert(std::string_view text) const;

private:
    void add(std::string_view type);
    void add_schema(const Value& schema, int depth);
    bool string_ = false, null_ = false, integer_ = false, number_ = false, boolean_ = false, json_ = false;
};

// Python literals (dicts, lists, tuples, strings, numbers, True, False, None) as JSON text; empty when it is none.
std::string python_literal_to_json(std::string_view text);

}  // namespace nibble::text::calls
