// What the readers of the tool-call formats share: where they write to, and how they are driven (output_parser.cpp).
//
// A reader has
//   Match begins(text, is_final, strict)   whether text, which starts with '<', begins a call; `strict`: only one of a
//                                          function that exists (inside reasoning, where models talk about calls)
//   size_t read(text, is_final, strict, sink)  reads a call from its beginning, or on inside it; what it does not
//                                          consume is given again, with more behind it
//   bool open() const                      still inside
// read() leaves less than kHoldBytes behind unless it is final, and never looks at a byte twice beyond that.
#pragma once

#include "text/value.h"

#include <cstddef>
#include <string>
#include <string_view>

namespace nibble::text::calls {

constexpr size_t kMaxSpace = 64;    // white space accepted between markers
constexpr size_t kMaxName = 256;    // bytes of a function's or a parameter's name
constexpr size_t kHoldBytes = 512;  // over every marker with its name

enum class Match { no, maybe, yes };

class Sink {
public:
    virtual ~Sink() = default;
    virtual void start(std::string_view name) = 0;      // a call is certain
    virtual void arguments(std::string_view json) = 0;  // the next piece of its arguments
    virtual void end() = 0;
    virtual void stray(std::string_view text) = 0;  // text that belongs to no call after all
};

// The functions of the request's tools.
class Functions {
public:
    explicit Functions(const Value& tools) : tools_(tools) {}
    bool known(std::string_view name) const { return find(name) != nullptr; }
    // The schema of a parameter; null when the function or the parameter is unknown.
    const Value* parameter(std::string_view function, std::string_view name) const;

private:
    const Value* find(std::string_view name) const;
    const Value& tools_;
};

// Whether text starts with the marker, or could once there is more of it.
Match starts_with(std::string_view text, std::string_view marker);
size_t space_at(std::string_view text, size_t at);  // bytes of white space there
std::string_view trimmed(std::string_view text);    // without white space around, and without quotes around that

// Writes the JSON of arguments piece by piece. Separators come only with what follows them, so that the text can be
// made whole at any point.
class JsonWriter {
public:
    explicit JsonWriter(std::string& out) : out_(out) {}
    void open(char bracket);  // '{' or '['
    void close();             // the innermost bracket
    void key(std::string_view name) { key_ = name, has_key_ = true; }
    void scalar(std::string_view json);          // a value as JSON text
    void begin_string();                         //
    void string_piece(std::string_view text);    // of the value, not escaped
    void string_escaped(std::string_view json);  // of the value, already JSON
    void end_string();
    size_t depth() const { return brackets_.size(); }
    bool in_object() const { return !brackets_.empty() && brackets_.back() == '}'; }
    void finish();  // closes what is open
    void reset();

private:
    void separate();

    std::string& out_;
    std::string brackets_;  // the closing ones
    std::string key_;
    bool has_key_ = false, first_ = true, in_string_ = false;
};

}  // namespace nibble::text::calls
