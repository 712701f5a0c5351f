// doctor: whether this machine is fit to serve, line by line: what is there, what a fault costs, what mends it.
#include "checkpoint/checkpoint.h"
#include "cli/flags.h"
#include "cli/host_checks.h"
#include "cli/option_checks.h"
#include "cli/read_bandwidth.h"
#include "cli/verb.h"
#include "cli/version.h"
#include "device/have_cuda.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

namespace nibble::cli {
namespace {

struct DoctorFlags {
    std::string device = "auto";
    int threads = 0;
    bool json = false, print_config = false;
    std::string config;
};

constexpr std::array kBuiltFor = {90, 120, 121};  // as device/device_cuda.cpp

std::vector<Check> examine(const DoctorFlags& flags, int& status) {
    std::vector<Check> checks;
    const auto asked = device::find_device(flags.device);
    if (!asked) {
        status = exit_code(asked.error().code);
        checks.push_back({Check::State::failed, "device", asked.error().message, "nibble cannot start on it",
                          "--device cpu, or mend what is named"});
    } else {
        checks.push_back({Check::State::ok, "device", fmt::format("{} ({})", asked->name, flags.device), {}, {}});
    }
    const auto nvml = device::read_nvml();
    const bool unified = nvml && std::any_of(nvml->gpus.begin(), nvml->gpus.end(),
                                             [](const auto& gpu) { return !gpu.memory_total_bytes; });
    const auto append = [&](std::vector<Check> more) { checks.insert(checks.end(), more.begin(), more.end()); };
    append(check_gpus(nvml, {.has_backend = device::kHaveCuda, .built_for = kBuiltFor}));
    append(check_host("", unified));
    if (asked) {
        ThreadPool threads(flags.threads);
        if (const auto rate = measure_read_bandwidth(*asked, threads))
            checks.push_back(judge_bandwidth(*asked, *rate));
        else
            checks.push_back({Check::State::warning, "read bandwidth", rate.error().message, "no ceiling can be shown",
                              "free some memory"});
    }
    append(check_fabric("", nvml ? nvml->gpus.size() : 0));
    checks.push_back(check_hub_cache(checkpoint::hub_cache()));
    return checks;
}

Result<int> doctor(const DoctorFlags& flags, const Settings& settings) {
    if (flags.print_config) {
        fmt::print("{}", describe(settings));
        return 0;
    }
    int status = 0;
    const std::vector<Check> checks = examine(flags, status);
    if (status == exit_code(ErrorCode::usage)) return error(ErrorCode::usage, "{}", checks.front().found);
    const auto count = [&](Check::State state) {
        return std::count_if(checks.begin(), checks.end(), [&](const Check& check) { return check.state == state; });
    };
    const auto warnings = count(Check::State::warning), failures = count(Check::State::failed);
    if (flags.json) {
        nlohmann::ordered_json record = {{"version", version()},   {"commit", commit()},
                                         {"device", flags.device}, {"usable", status == 0},
                                         {"warnings", warnings},   {"checks", nlohmann::ordered_json::array()}};
        for (const Check& check : checks) {
            nlohmann::ordered_json line = {
                {"check", check.what}, {"state", state_name(check.state)}, {"found", check.found}};
            if (check.state != Check::State::ok) {
                line["consequence"] = check.consequence;
                line["remedy"] = check.remedy;
            }
            record["checks"].push_back(std::move(line));
        }
        fmt::print("{}\n", record.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
    } else {
        size_t width = 0;
        for (const Check& check : checks) width = std::max(width, check.what.size());
        for (const Check& check : checks) {
            fmt::print("{:<7}  {:<{}}  {}\n", state_name(check.state), check.what, width, check.found);
            if (check.state == Check::State::ok) continue;
            fmt::print("{:<7}  {:<{}}  so: {}\n", "", "", width, check.consequence);
            fmt::print("{:<7}  {:<{}}  do: {}\n", "", "", width, check.remedy);
        }
        fmt::print("{} checks, {} warnings{}\n", checks.size(), warnings,
                   failures > 0 ? fmt::format(", {} failed", failures) : "");
    }
    return std::fflush(stdout) == 0 ? status : 1;
}

}  // namespace

void add_doctor(CLI::App& program, Action& action) {
    const auto flags = std::make_shared<DoctorFlags>();
    CLI::App& verb = *program.add_subcommand("doctor", "Say whether this machine is fit to serve, and what mends it");
    verb.add_option("--device", flags->device, "cpu, cuda, cuda:1, auto: which one must be usable")
        ->capture_default_str()
        ->type_name("NAME");
    verb.add_option("--threads", flags->threads, "That read memory; 0: the physical cores")
        ->capture_default_str()
        ->check(in_range(0, 4096))
        ->type_name("N");
    verb.add_flag("--json", flags->json, "One JSON record on stdout");
    verb.add_option("--config", flags->config, "Flags from a YAML file")->type_name("FILE");
    verb.add_flag("--print-config", flags->print_config, "Show each value with its origin, and end");
    verb.callback(
        [flags, &action] { action = [flags](const Settings& settings) { return doctor(*flags, settings); }; });
}

}  // namespace nibble::cli
