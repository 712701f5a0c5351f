// ProgressBar: one line on a terminal that shows how far loading is, in GB/s, and vanishes at the end. On anything that
// is no terminal it shows nothing. One thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

namespace nibble::cli {

class ProgressBar {
public:
    explicit ProgressBar(bool show);
    ~ProgressBar();
    void update(std::string_view stage, int64_t bytes, int64_t total_bytes);
    void clear();

private:
    const bool show_;
    bool shown_ = false;
    std::chrono::steady_clock::time_point start_, drawn_;
};

bool stderr_is_terminal();
bool stdout_is_terminal();
bool stdin_is_terminal();

}  // namespace nibble::cli
