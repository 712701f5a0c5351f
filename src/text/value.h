// Value: the data a template sees, and what a request's messages and tools become before they are rendered.
//
// JSON with Python's distinctions (int and float apart, insertion order of keys kept), plus undefined. What Jinja adds
// (namespaces, macros, tuples) lives in text/jinja/item.h. Value semantics from outside; arrays and objects share their
// storage, so a copy is cheap. Destruction recurses as deep as the value does, which parse_json limits.
#pragma once

#include "base/result.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace nibble::text {

class Value;
using Array = std::vector<Value>;

class Object;

struct Undefined {};  // what a missing name or key gives

class Value {
public:
    Value() : data_(nullptr) {}  // none
    Value(std::nullptr_t) : data_(nullptr) {}
    Value(Undefined u) : data_(u) {}
    Value(bool b) : data_(b) {}
    Value(int i) : data_(int64_t{i}) {}
    Value(int64_t i) : data_(i) {}
    Value(double d) : data_(d) {}
    Value(std::string s) : data_(std::make_shared<const std::string>(std::move(s))) {}
    Value(std::string_view s) : Value(std::string(s)) {}
    Value(const char* s) : Value(std::string(s)) {}
    Value(Array a) : data_(std::make_shared<const Array>(std::move(a))) {}
    Value(Object o);

    bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
    bool is_none() const { return std::holds_alternative<std::nullptr_t>(data_); }
    bool is_bool() const { return std::holds_alternative<bool>(data_); }
    bool is_int() const { return std::holds_alternative<int64_t>(data_); }
    bool is_float() const { return std::holds_alternative<double>(data_); }
    bool is_string() const { return std::holds_alternative<StringPtr>(data_); }
    bool is_array() const { return std::holds_alternative<ArrayPtr>(data_); }
    bool is_object() const { return std::holds_alternative<ObjectPtr>(data_); }

    bool as_bool() const { return std::get<bool>(data_); }
    int64_t as_int() const { return std::get<int64_t>(data_); }
    double as_float() const { return std::get<double>(data_); }
    const std::string& as_string() const { return *std::get<StringPtr>(data_); }
    const Array& as_array() const { return *std::get<ArrayPtr>(data_); }
    const Object& as_object() const { return *std::get<ObjectPtr>(data_); }
    const Value* find(std::string_view key) const;  // of an object; null when it is none or has no such key

private:
    using StringPtr = std::shared_ptr<const std::string>;
    using ArrayPtr = std::shared_ptr<const Array>;
    using ObjectPtr = std::shared_ptr<const Object>;
    std::variant<std::nullptr_t, Undefined, bool, int64_t, double, StringPtr, ArrayPtr, ObjectPtr> data_;
};

// Keys in insertion order; lookup is linear for small objects and indexed for large ones.
class Object {
public:
    const Value* find(std::string_view key) const;
    void set(std::string_view key, Value value);  // replaces, keeping the place of an existing key
    size_t size() const { return entries_.size(); }
    const std::vector<std::pair<std::string, Value>>& entries() const { return entries_; }

private:
    size_t position(std::string_view key) const;  // entries_.size() when absent
    void index(size_t entry);

    std::vector<std::pair<std::string, Value>> entries_;
    std::vector<uint32_t> slots_;  // open addressing: 1 + position in entries_, 0 when free; empty while small
};

inline Value::Value(Object o) : data_(std::make_shared<const Object>(std::move(o))) {}

// JSON text to Value. Refuses nesting over `max_depth` (values inside the outermost count from 1), invalid UTF-8,
// trailing text; errors are invalid_request, with the byte offset. Duplicate keys: the last wins. Integers outside
// int64 become floats. An unpaired surrogate escape becomes U+FFFD (clients that cut strings in UTF-16 send them).
Result<Value> parse_json(std::string_view json, int max_depth = 64);

// As Python's json.dumps(value, ensure_ascii=False): separators ", " and ": " (indent < 0), or over lines with
// `indent` spaces; floats as repr. Undefined is written as null.
std::string to_json(const Value& value, int indent = -1);

// The two pieces of it that others write with.
void append_json_string(std::string& out, std::string_view s, bool ensure_ascii = false);  // with the quotes
void append_float(std::string& out, double d);                                             // Python's repr: 1.0, 1e+16

}  // namespace nibble::text
