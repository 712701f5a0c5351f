// run: answers one prompt, or chats in the terminal. Answers go to stdout, everything else to stderr.
#include "cli/conversation.h"
#include "cli/flags.h"
#include "cli/model_flags.h"
#include "cli/option_checks.h"
#include "cli/progress.h"
#include "cli/session.h"
#include "cli/terminal.h"
#include "cli/verb.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <unistd.h>

namespace nibble::cli {
namespace {

constexpr size_t kStdinLimit_bytes = size_t{64} << 20;
constexpr std::string_view kDim = "\033[2m", kPlain = "\033[0m";

struct RunFlags {
    ModelFlags model;
    std::string prompt;
    ConversationOptions conversation;
    bool thinking = false;
    bool stats = false;
};

// Everything piped in. Errors: io, invalid_request beyond the limit.
Result<std::string> read_stdin() {
    std::string text;
    char piece[65536];
    for (;;) {
        const ssize_t bytes = ::read(STDIN_FILENO, piece, sizeof piece);
        if (bytes == 0) break;
        if (bytes < 0) {
            if (errno == EINTR && !interrupted()) continue;
            if (interrupted()) return error(ErrorCode::cancelled, "interrupted");
            return error(ErrorCode::io, "stdin: {}", std::strerror(errno));
        }
        text.append(piece, static_cast<size_t>(bytes));
        if (text.size() > kStdinLimit_bytes)
            return error(ErrorCode::invalid_request, "stdin: more than {} bytes", kStdinLimit_bytes);
    }
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return text;
}

// Says an answer on stdout as it comes: reasoning dimmed on a terminal and left out elsewhere.
class Speaker {
public:
    Speaker() : terminal_(stdout_is_terminal()) {}

    void say(Voice voice, std::string_view text) {
        if (voice == Voice::reasoning && !terminal_) return;
        if (terminal_ && voice != voice_) {
            if (voice == Voice::reasoning) put(kDim);
            if (voice_ == Voice::reasoning) put(fmt::format("{}\n", kPlain));
            voice_ = voice;
        }
        put(terminal_ ? without_controls(text) : text);
        std::fflush(stdout);
    }
    void end() {
        if (terminal_ && voice_ == Voice::reasoning) put(kPlain);
        voice_ = Voice::content;
        put("\n");
        std::fflush(stdout);
    }
    bool broken() const { return std::ferror(stdout) != 0; }  // nobody reads it any more

private:
    void put(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

    const bool terminal_;
    Voice voice_ = Voice::content;
};

void print_stats(const Turn& turn, const Session& session) {
    std::string share;
    if (session.ceiling() > 0 && turn.decode_seconds > 0)
        share = fmt::format(", {:.0f} % of the ceiling of {:.1f}", 100 * turn.tokens_per_second() / session.ceiling(),
                            session.ceiling());
    fmt::print(stderr, "{} tokens after {}, the first in {:.0f} ms, {:.1f} tokens/s{}\n", turn.tokens,
               turn.prompt_tokens, turn.first_token_seconds * 1000, turn.tokens_per_second(), share);
}

Result<Turn> answer(Conversation& conversation, const std::string& question, Session& session, bool stats) {
    Speaker speaker;
    std::atomic<bool>& stop = interrupted();
    TRY(Turn turn, conversation.ask(question, stop, [&](Voice voice, std::string_view text) {
        speaker.say(voice, text);
        if (speaker.broken()) stop = true;
    }));
    speaker.end();
    if (stats) print_stats(turn, session);
    return turn;
}

constexpr std::string_view kHelp =
    "/reset        forget what was said\n"
    "/system TEXT  a new system message; forgets what was said\n"
    "/help         this\n"
    "/quit         leave (Ctrl-D as well); Ctrl-C stops an answer\n";

Result<int> chat(Conversation& conversation, Session& session, bool stats) {
    fmt::print(stderr, "{} on {}. /help for help.\n", session.served_model().names.front(), session.device().name);
    LineEditor editor("> ");
    while (const std::optional<std::string> line = editor.read_line()) {
        const std::string_view text = *line;
        if (text.find_first_not_of(" \t") == std::string_view::npos) continue;
        if (text == "/quit" || text == "/exit") break;
        if (text == "/help") {
            fmt::print(stderr, "{}", kHelp);
        } else if (text == "/reset") {
            conversation.reset();
            fmt::print(stderr, "forgotten\n");
        } else if (text == "/system" || text.starts_with("/system ")) {
            conversation.set_system(text.size() > 8 ? std::string(text.substr(8)) : "");
            fmt::print(stderr, "{}\n", text.size() > 8 ? "a new beginning" : "no system message from now on");
        } else if (text.starts_with('/') && text.find(' ') == std::string_view::npos) {
            fmt::print(stderr, "{} is no command; /help lists them\n", text);
        } else {
            interrupted() = false;
            const auto turn = answer(conversation, *line, session, stats);
            // A turn that cannot be answered (too long, refused by the template) ends nothing but itself.
            if (!turn && exit_code(turn.error().code) == 1) return Error(turn.error());
            if (!turn) fmt::print(stderr, "{}\n", turn.error().message);
            if (turn && turn->finish == engine::FinishReason::cancelled) fmt::print(stderr, "(stopped)\n");
        }
    }
    return 0;
}

Result<int> run(RunFlags flags, const Settings& settings, bool thinking_given) {
    if (flags.model.print_config) {
        fmt::print("{}", describe(settings));
        return 0;
    }
    TRY(const bool demo, default_to_demo(flags.model));
    if (demo) fmt::print(stderr, "{}\n", kDemoTaken);
    if (thinking_given) flags.conversation.thinking = flags.thinking;
    install_interrupt();

    const bool interactive = flags.prompt.empty() && stdin_is_terminal();
    if (!interactive && !stdin_is_terminal()) {
        // With a prompt, text is waited for only where something can be piped in.
        TRY(const std::string piped, read_stdin());
        if (!flags.prompt.empty() && !piped.empty()) flags.prompt += "\n\n";
        flags.prompt += piped;
        if (flags.prompt.empty()) return error(ErrorCode::usage, "no prompt: none was given, and stdin is empty");
    }

    ProgressBar bar(stderr_is_terminal());
    SessionOptions options;
    options.default_sequences = 1;
    options.measure_bandwidth = flags.stats;
    options.progress = [&](std::string_view stage, int64_t bytes, int64_t total) { bar.update(stage, bytes, total); };
    options.remark = [](const std::string& line) { fmt::print(stderr, "{}\n", line); };
    std::unique_ptr<Session> session;
    {
        const InterruptHeld held;  // the session's threads leave interrupts to this one
        TRY(session, Session::open(flags.model, options));
    }
    bar.clear();

    Conversation conversation(session->served_model(), flags.conversation);
    if (interactive) return chat(conversation, *session, flags.stats);
    TRY(const Turn turn, answer(conversation, flags.prompt, *session, flags.stats));
    return turn.finish == engine::FinishReason::cancelled ? exit_code(ErrorCode::cancelled) : 0;
}

}  // namespace

void add_run(CLI::App& program, Action& action) {
    CLI::App* verb = program.add_subcommand("run", "Answer one prompt, or chat in the terminal");
    const auto flags = std::make_shared<RunFlags>();
    ConversationOptions& talk = flags->conversation;
    add_model_flags(*verb, flags->model);
    verb->get_option("model")->default_str("demo");
    verb->get_option("--max-num-seqs")->default_str("1");
    verb->add_option("prompt", flags->prompt, "What to answer; without one, and on a terminal, it is a chat")
        ->type_name("");
    verb->add_option("--system", talk.system, "The system message")->type_name("TEXT");
    verb->add_flag("--raw", talk.raw, "The prompt as it is, without the chat template");
    const CLI::Option* thinking =
        verb->add_flag("--thinking,!--no-thinking", flags->thinking, "Switch reasoning where the template can");
    verb->add_option("--max-tokens", talk.max_tokens, "Length of an answer")
        ->check(in_range(int64_t{1}, int64_t{1} << 40))
        ->type_name("N")
        ->default_str("to the end of the context");
    const auto sampling = [&](CLI::Option* option, const char* type) {
        option->type_name(type)->default_str("as in generation_config.json");
    };
    sampling(verb->add_option("--temperature", talk.temperature, "0 is greedy")->check(in_range(0.0, 100.0)), "F");
    sampling(verb->add_option("--top-p", talk.top_p, "Of the likeliest, as many as make up this share")
                 ->check(in_range(1e-6, 1.0)),
             "F");
    sampling(verb->add_option("--top-k", talk.top_k, "Of the likeliest, so many; 0: all")
                 ->check(in_range(int64_t{0}, int64_t{1} << 30)),
             "N");
    sampling(verb->add_option("--min-p", talk.min_p, "At least this share of the likeliest's chance")
                 ->check(in_range(0.0, 1.0)),
             "F");
    sampling(verb->add_option("--repetition-penalty", talk.repetition_penalty, "Above 1: against saying it again")
                 ->check(in_range(0.01, 100.0)),
             "F");
    verb->add_option("--seed", talk.seed, "The same answer again")->type_name("N")->default_str("drawn");
    verb->add_flag("--stats", flags->stats, "Tokens, times and share of the ceiling, to stderr");
    verb->callback([&action, flags, thinking] {
        action = [flags, thinking](const Settings& settings) { return run(*flags, settings, thinking->count() > 0); };
    });
}

}  // namespace nibble::cli
