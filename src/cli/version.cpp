#include "cli/version.h"

#include "cli/verb.h"
#include "device/device.h"
#include "device/have_cuda.h"
#include "generated/commit.h"
#include "model/model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <memory>
#include <vector>

namespace nibble::cli {
namespace {

// What this binary has kernels for, whether such a device is here or not.
std::vector<std::string> built_for() {
    std::vector<std::string> devices = {"cpu"};
    if (device::kHaveCuda)
        for (const char* target : {"sm_90a (H100, H200)", "sm_120a (RTX Blackwell)", "sm_121a (GB10)"})
            devices.push_back(target);
    return devices;
}

int print_version(bool as_json) {
    if (as_json) {
        const nlohmann::ordered_json json = {{"version", version()},
                                             {"commit", commit()},
                                             {"compiler", compiler()},
                                             {"devices", built_for()},
                                             {"families", model::families()}};
        fmt::print("{}\n", json.dump(2));
    } else {
        fmt::print("nibble {} ({}, {})\n", version(), commit(), compiler());
        fmt::print("devices   {}\n", fmt::join(built_for(), ", "));
        fmt::print("families  {}\n", fmt::join(model::families(), ", "));
    }
    return std::fflush(stdout) == 0 ? 0 : 1;
}

}  // namespace

std::string_view version() {
    return NIBBLE_VERSION;
}
std::string_view commit() {
    return NIBBLE_COMMIT;
}
std::string_view compiler() {
#if defined(__clang__)
    return "Clang " __clang_version__;
#else
    return "GCC " __VERSION__;
#endif
}

void add_version(CLI::App& program, Action& action) {
    CLI::App* verb = program.add_subcommand("version", "What this binary is");
    const auto as_json = std::make_shared<bool>(false);
    verb->add_flag("--json", *as_json, "As JSON");
    verb->callback(
        [&action, as_json] { action = [as_json](const Settings&) -> Result<int> { return print_version(*as_json); }; });
}

}  // namespace nibble::cli
