// Log: lines to stderr, as text or as one JSON object a line, written by a thread of its own so that nobody waits for a
// slow terminal; when the queue is full the oldest lines go, and how many is said. Any thread. spdlog is used in
// log.cpp alone.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace nibble::cli {

class Log {
public:
    enum class Format { text, jsonl };
    explicit Log(Format format);
    ~Log();  // writes what is queued
    Log(const Log&) = delete;
    Log& operator=(const Log&) = delete;

    void line(std::string_view message);  // with the time
    void warning(std::string_view message);
    // Text for people, as it is, lines and all; a message like any other in JSON lines.
    void say(std::string_view text);
    void flush();

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace nibble::cli
