// JsonWriter: JSON text appended to a string, without a document in between. Commas come by themselves.
//
// What is written is what was asked for: balance is the caller's. Strings must be UTF-8.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace nibble::server {

// The text between the quotes. Only '"', '\' and control characters are escaped.
void append_json_escaped(std::string& out, std::string_view text);
void append_integer(std::string& out, int64_t value);

class JsonWriter {
public:
    explicit JsonWriter(std::string& out) : out_(out) {}

    JsonWriter& begin_object() { return open('{'); }
    JsonWriter& end_object() { return close('}'); }
    JsonWriter& begin_array() { return open('['); }
    JsonWriter& end_array() { return close(']'); }
    JsonWriter& key(std::string_view name);

    JsonWriter& string(std::string_view text);
    JsonWriter& integer(int64_t value);
    JsonWriter& number(double value);  // shortest that reads back; what JSON cannot say becomes null
    JsonWriter& logprob(float value);  // as number; minus infinity becomes -9999, as clients expect it
    JsonWriter& boolean(bool value) { return raw(value ? "true" : "false"); }
    JsonWriter& null() { return raw("null"); }
    JsonWriter& raw(std::string_view json);  // one value, already JSON

    JsonWriter& string(std::string_view name, std::string_view text) { return key(name).string(text); }
    JsonWriter& integer(std::string_view name, int64_t value) { return key(name).integer(value); }
    JsonWriter& number(std::string_view name, double value) { return key(name).number(value); }
    JsonWriter& boolean(std::string_view name, bool value) { return key(name).boolean(value); }

private:
    JsonWriter& open(char bracket);
    JsonWriter& close(char bracket);
    void comma();

    std::string& out_;
};

}  // namespace nibble::server
