// Fields: the named values of a JSON object in a request, each taken with its type and range.
//
// A getter gives nothing for a field that is absent or null. The first field found wrong is remembered with its path,
// what was expected and what was found; the caller asks for error() once, at the end. Every name asked for is known;
// what is left over was not understood by anybody.
#pragma once

#include "base/result.h"
#include "text/value.h"

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::server {

class Fields {
public:
    // `path` stands before the names in messages: "messages[3]"; empty for the request itself.
    explicit Fields(const text::Object& object, std::string path = {}) : object_(object), path_(std::move(path)) {}

    std::optional<double> number(std::string_view name, double min, double max);
    // Written as 3 or 3.0. Beyond ±2^53 a float is no integer any more.
    std::optional<int64_t> integer(std::string_view name, int64_t min, int64_t max);
    std::optional<bool> boolean(std::string_view name);
    std::optional<std::string_view> string(std::string_view name,
                                           size_t max_bytes = std::numeric_limits<size_t>::max());
    const text::Array* array(std::string_view name, size_t max_items);
    const text::Object* object(std::string_view name);
    const text::Value* any(std::string_view name);  // nullptr when absent or null

    void without_effect(std::string_view name);             // known and harmless, whatever it says
    void fail(std::string_view name, std::string message);  // message without the name
    void fail(Error error);
    void unsupported(std::string_view name, std::string_view why);

    bool ok() const { return !error_; }
    const std::optional<Error>& error() const { return error_; }
    std::string path_of(std::string_view name) const;
    const std::vector<std::string_view>& ignored() const { return ignored_; }  // present and without effect
    std::vector<std::string_view> unknown() const;                             // present, and nobody asked

private:
    const text::Object& object_;
    std::string path_;
    std::optional<Error> error_;
    std::vector<std::string_view> asked_, ignored_;  // literals
};

// "the string 'abc'", "3.5", "a list of 4", for messages.
std::string describe(const text::Value& value);

// An integer of a list, checked like Fields::integer.
std::optional<int64_t> integral(const text::Value& value);

}  // namespace nibble::server
