// nibble: the program. Reads the command line, completes it from environment and file, and runs the verb that was
// named. Everything goes wrong through here: a message on stderr and an exit code of docs/cli.md.
#include "cli/flags.h"
#include "cli/verb.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include <csignal>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <vector>

namespace nibble::cli {
namespace {

// "--port N        where to listen (8000)": the name of the value before, its default behind.
class HelpFormatter final : public CLI::Formatter {
public:
    std::string make_option_opts(const CLI::Option* option) const override {
        return option->get_type_size() == 0 || option->get_type_name().empty() ? "" : " " + option->get_type_name();
    }
    std::string make_option_desc(const CLI::Option* option) const override {
        const std::string usual = option->get_default_str();
        return usual.empty() ? option->get_description() : fmt::format("{} ({})", option->get_description(), usual);
    }
};

int fail(const std::string& verb, const Error& failure) {
    fmt::print(stderr, "nibble{}{}: {}\n", verb.empty() ? "" : " ", verb, failure.message);
    if (failure.code == ErrorCode::usage && !verb.empty()) fmt::print(stderr, "See nibble {} --help\n", verb);
    return exit_code(failure.code);
}

int run(int argc, char** argv) {
    CLI::App program("Serves 4-bit language models at the speed of the memory they are read from.", "nibble");
    program.require_subcommand(1);
    program.formatter(std::make_shared<HelpFormatter>());
    program.get_formatter()->column_width(32);
    program.footer("Exit codes and the order in which flags, environment and file count: docs/cli.md\n");

    Action action;
    add_serve(program, action);
    add_run(program, action);
    add_bench(program, action);
    add_audit(program, action);
    add_quantize(program, action);
    add_eval(program, action);
    add_plan(program, action);
    add_doctor(program, action);
    add_version(program, action);

    try {
        program.parse(argc, argv);
    } catch (const CLI::Success& wanted) {  // --help
        return program.exit(wanted);
    } catch (const CLI::Error& failure) {
        const auto named = program.get_subcommands();
        if (!named.empty()) return fail(named.front()->get_name(), {ErrorCode::usage, failure.what(), {}});
        std::vector<std::string> verbs;
        for (const CLI::App* verb : program.get_subcommands([](CLI::App*) { return true; }))
            verbs.push_back(verb->get_name());
        const std::string found = argc > 1 ? fmt::format("found {}", argv[1]) : "found none";
        return fail("", error(ErrorCode::usage, "expected a verb ({}), {}", fmt::join(verbs, ", "), found));
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
