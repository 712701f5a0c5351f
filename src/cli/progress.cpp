#include "cli/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

namespace nibble::cli {
namespace {

int terminal_columns() {
    winsize size{};
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

bool stderr_is_terminal() {
    return isatty(STDERR_FILENO) == 1;
}
bool stdout_is_terminal() {
    return isatty(STDOUT_FILENO) == 1;
}
bool stdin_is_terminal() {
    return isatty(STDIN_FILENO) == 1;
}

ProgressBar::ProgressBar(bool show) : show_(show), start_(std::chrono::steady_clock::now()) {}

ProgressBar::~ProgressBar() {
    clear();
}

void ProgressBar::update(std::string_view stage, int64_t bytes, int64_t total_bytes) {
    if (!show_ || total_bytes <= 0) return;
    const auto now = std::chrono::steady_clock::now();
    if (shown_ && now - drawn_ < std::chrono::milliseconds(50)) return;
    drawn_ = now;
    shown_ = true;
    const double seconds = std::chrono::duration<double>(now - start_).count();
    const double share = std::clamp(static_cast<double>(bytes) / static_cast<double>(total_bytes), 0.0, 1.0);
    const std::string tail = fmt::format(" {:3.0f} %  {:.2f} of {:.2f} GB  {:.1f} GB/s", share * 100,
                                         static_cast<double>(bytes) / 1e9, static_cast<double>(total_bytes) / 1e9,
                                         seconds > 0 ? static_cast<double>(bytes) / 1e9 / seconds : 0.0);
    const int room = terminal_columns() - static_cast<int>(stage.size() + tail.size()) - 4;
    std::string bar;
    if (room >= 8) {
        const int width = std::min(room, 40), full = static_cast<int>(share * width);
        for (int i = 0; i < width; ++i) bar += i < full ? "━" : "╌";
    }
    fmt::print(stderr, "\r\033[K{} {}{}", stage, bar, tail);
    std::fflush(stderr);
}

void ProgressBar::clear() {
    if (!shown_) return;
    fmt::print(stderr, "\r\033[K");
    std::fflush(stderr);
    shown_ = false;
}

}  // namespace nibble::cli
