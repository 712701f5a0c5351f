// Terminal: what a chat needs of one: lines edited with history, Ctrl-C noticed, model text that cannot play tricks.
// libedit is used in terminal.cpp alone. One thread; the interrupt flag is set by a signal handler.
#pragma once

#include <atomic>
#include <csignal>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace nibble::cli {

// Set by Ctrl-C from install_interrupt() on; whoever acts on it clears it.
std::atomic<bool>& interrupted();
void install_interrupt();

// Keeps SIGINT from this thread, and from threads made meanwhile for good, while it lives.
class InterruptHeld {
public:
    InterruptHeld();
    ~InterruptHeld();
    InterruptHeld(const InterruptHeld&) = delete;
    InterruptHeld& operator=(const InterruptHeld&) = delete;

private:
    sigset_t before_;
};

class LineEditor {
public:
    explicit LineEditor(std::string prompt);
    ~LineEditor();
    LineEditor(const LineEditor&) = delete;
    LineEditor& operator=(const LineEditor&) = delete;

    // A line without its newline; nothing at the end of the input (Ctrl-D). Ctrl-C gives an empty line.
    std::optional<std::string> read_line();

private:
    struct State;
    std::unique_ptr<State> state_;
};

// The text without control characters that a terminal would obey; newlines and tabs stay.
std::string without_controls(std::string_view text);

}  // namespace nibble::cli
