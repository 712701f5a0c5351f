// nibble: the program. Reads the command line, completes it from environment and file, and runs the verb that was
// named. Everything goes wrong through here: a message on stderr and an exit code of docs/cli.md.
#include "cli/flags.h"
#include "cli/verb.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <csignal>
#include <cstdio>
#include <exception>
#include <string>

namespace nibble::cli {
namespace {

int fail(const std::string& verb, const Error& failure) {
    fmt::print(stderr, "nibble{}{}: {}\n", verb.empty() ? "" : " ", verb, failure.message);
    if (failure.code == ErrorCode::usage && !verb.empty()) fmt::print(stderr, "See nibble {} --help\n", verb);
    return exit_code(failure.code);
}

int run(int argc, char** argv) {
    CLI::App program("Serves 4-bit language models at the speed of the memory they are read from.", "nibble");
    program.require_subcommand(1);
    program.get_formatter()->column_width(36);
    program.footer("Exit codes and the order in which flags, environment and file count: docs/cli.md");

    Action action;
    add_serve(program, action);
    add_run(program, action);
    add_version(program, action);

    try {
        program.parse(argc, argv);
    } catch (const CLI::Success& wanted) {  // --help
        return program.exit(wanted);
    } catch (const CLI::Error& failure) {
        const auto named = program.get_subcommands();
        return fail(named.empty() ? "" : named.front()->get_name(), {ErrorCode::usage, failure.what(), {}});
    }
    CLI::App& verb = *program.get_subcommands().front();
    Result<Settings> settings = complete_flags(program, verb);
    if (!settings) return fail(verb.get_name(), settings.error());
    Result<int> status = action(*settings);
    return status ? *status : fail(verb.get_name(), status.error());
}

}  // namespace
}  // namespace nibble::cli

int main(int argc, char** argv) {
    std::signal(SIGPIPE, SIG_IGN);  // a reader that goes away is an error of a write
    try {
        return nibble::cli::run(argc, argv);
    } catch (const std::exception& failure) {  // no memory, or a library's mistake
        fmt::print(stderr, "nibble: {}\n", failure.what());
        return 1;
    }
}
