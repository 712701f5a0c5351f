#include "cli/terminal.h"

#include <fmt/format.h>
#include <histedit.h>

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cwchar>

namespace nibble::cli {
namespace {

static_assert(std::atomic<bool>::is_always_lock_free);

void on_interrupt(int) {
    interrupted() = true;
}

}  // namespace

std::atomic<bool>& interrupted() {
    static std::atomic<bool> flag{false};
    return flag;
}

void install_interrupt() {
    interrupted() = false;  // made before a handler could be the first to ask for it
    struct sigaction action {};
    action.sa_handler = on_interrupt;
    sigemptyset(&action.sa_mask);
    action.sa_flags = 0;  // no SA_RESTART: a read in work ends
    sigaction(SIGINT, &action, nullptr);
}

struct LineEditor::State {
    static State& of(EditLine* editor) {
        void* data = nullptr;
        el_get(editor, EL_CLIENTDATA, &data);
        return *static_cast<State*>(data);
    }
    static int read_character(EditLine* editor, wchar_t* to);

    std::string prompt;
    std::mbstate_t character{};  // of which some bytes have been read
    EditLine* editor = nullptr;
    History* history = nullptr;
    HistEvent event{};
};

// A character of the line. An interrupt is waited for together with input: one that comes while neither is waited for,
// between an echo and the next read, must not be lost.
int LineEditor::State::read_character(EditLine* editor, wchar_t* to) {
    std::mbstate_t& state = of(editor).character;
    sigset_t open;
    pthread_sigmask(SIG_SETMASK, nullptr, &open);
    sigdelset(&open, SIGINT);
    for (;;) {
        pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
        if (ppoll(&input, 1, nullptr, &open) < 0) {
            if (errno == EINTR && !interrupted()) continue;  // another signal
            return -1;
        }
        char byte = 0;
        const ssize_t count = read(STDIN_FILENO, &byte, 1);
        if (count == 0) return 0;
        if (count < 0) {
            if (errno == EINTR || errno == EAGAIN) continue;
            return -1;
        }
        const size_t length = std::mbrtowc(to, &byte, 1, &state);
        if (length == static_cast<size_t>(-2)) continue;  // more bytes belong to it
        if (length == static_cast<size_t>(-1)) {
            state = {};
            continue;  // not of the locale's encoding
        }
        return 1;
    }
}

InterruptHeld::InterruptHeld() {
    sigset_t interrupt;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    pthread_sigmask(SIG_BLOCK, &interrupt, &before_);
}

InterruptHeld::~InterruptHeld() {
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

LineEditor::LineEditor(std::string prompt) : state_(std::make_unique<State>()) {
    std::setlocale(LC_CTYPE, "");  // the editor reads and counts characters by it
    if (MB_CUR_MAX == 1) std::setlocale(LC_CTYPE, "C.UTF-8");
    state_->prompt = std::move(prompt);
    // Shown on stderr, so that stdout holds answers alone.
    state_->editor = el_init("nibble", stdin, stderr, stderr);
    state_->history = history_init();
    if (state_->editor == nullptr || state_->history == nullptr) return;
    history(state_->history, &state_->event, H_SETSIZE, 1000);
    history(state_->history, &state_->event, H_SETUNIQUE, 1);
    el_set(state_->editor, EL_CLIENTDATA, state_.get());
    el_set(state_->editor, EL_GETCFN, State::read_character);
    el_set(
        state_->editor, EL_PROMPT, +[](EditLine* editor) -> char* { return State::of(editor).prompt.data(); });
    el_set(state_->editor, EL_EDITOR, "emacs");
    el_set(state_->editor, EL_HIST, history, state_->history);
    el_set(state_->editor, EL_SIGNAL, 0);
}

LineEditor::~LineEditor() {
    if (state_->history != nullptr) history_end(state_->history);
    if (state_->editor != nullptr) el_end(state_->editor);
}

std::optional<std::string> LineEditor::read_line() {
    if (state_->editor == nullptr) return std::nullopt;
    const InterruptHeld held;
    interrupted() = false;
    // el_gets shows the prompt first and changes the terminal's mode after: a Ctrl-D typed between would be lost.
    el_set(state_->editor, EL_PREP_TERM, 1);
    int length = 0;
    const char* text = el_gets(state_->editor, &length);
    if (interrupted()) {
        interrupted() = false;
        fmt::print(stderr, "\n");
        el_reset(state_->editor);
        return std::string();
    }
    if (text == nullptr || length <= 0) return std::nullopt;
    std::string line(text, static_cast<size_t>(length));
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
    if (!line.empty()) history(state_->history, &state_->event, H_ENTER, line.c_str());
    return line;
}

std::string without_controls(std::string_view text) {
    std::string clean;
    clean.reserve(text.size());
    for (size_t i = 0; i < text.size(); ++i) {
        const auto c = static_cast<unsigned char>(text[i]);
        if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7F) continue;
        // U+0080 to U+009F, the controls of eight-bit terminals, are C2 80 to C2 9F in UTF-8.
        if (c == 0xC2 && i + 1 < text.size()) {
            const auto next = static_cast<unsigned char>(text[i + 1]);
            if (next >= 0x80 && next <= 0x9F) {
                ++i;
                continue;
            }
        }
        clean += static_cast<char>(c);
    }
    return clean;
}

}  // namespace nibble::cli
