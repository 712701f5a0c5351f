// Verb: one word after `nibble`, in a file of its own that ends in an add_VERB(). main.cpp calls each of them once.
//
// add_VERB makes the subcommand, binds its flags, and has the subcommand's callback set `action`. After parsing, main
// completes the flags from environment and file (cli/flags.h) and runs the action of the verb that was named.
#pragma once

#include "base/result.h"

#include <functional>

namespace CLI {
class App;
}

namespace nibble::cli {

struct Settings;

// The value is the exit code; an Error becomes one by exit_code() after it was printed.
using Action = std::function<Result<int>(const Settings&)>;

void add_serve(CLI::App& program, Action& action);
void add_run(CLI::App& program, Action& action);
void add_bench(CLI::App& program, Action& action);
void add_audit(CLI::App& program, Action& action);
void add_quantize(CLI::App& program, Action& action);
void add_eval(CLI::App& program, Action& action);
void add_plan(CLI::App& program, Action& action);
void add_doctor(CLI::App& program, Action& action);
void add_version(CLI::App& program, Action& action);

}  // namespace nibble::cli
