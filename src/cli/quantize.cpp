// quantize: a checkpoint written again with matrices in NVFP4 or FP8. The arithmetic is checkpoint/quantizer.h's; here
// are the flags, the progress, and the report: what each module lost, and what a token costs before and after.
#include "base/bytes.h"
#include "base/thread_pool.h"
#include "checkpoint/quantizer.h"
#include "cli/calibration.h"
#include "cli/flags.h"
#include "cli/known_devices.h"
#include "cli/option_checks.h"
#include "cli/progress.h"
#include "cli/terminal.h"
#include "cli/token_bytes.h"
#include "cli/verb.h"
#include "cli/version.h"
#include "device/device.h"
#include "model/model.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace nibble::cli {
namespace {

using checkpoint::Encoding;
using Clock = std::chrono::steady_clock;

struct QuantizeFlags {
    std::string model, out;
    std::string scheme, head, attention, mamba, search = "mse", calibrate;
    int64_t calibrate_tokens = 8192;
    int threads = 0;
    bool json = false, dry_run = false, modules = false;
    std::string config;
    bool print_config = false;
};

Result<std::optional<Encoding>> optional_encoding(const std::string& text, std::string_view flag) {
    if (text.empty()) return std::optional<Encoding>();
    TRY(const Encoding encoding, checkpoint::parse_encoding(text, flag));
    return std::optional(encoding);
}

// As audit shows it of a folder without being asked for a device; nothing where the family is not known.
Result<int64_t> bytes_per_token(std::shared_ptr<const checkpoint::Checkpoint> checkpoint) {
    const device::Device device = find_known_device(kFirstDevice)->device();
    model::LoadOptions load;
    load.source = model::LoadOptions::Source::headers;
    TRY(const std::unique_ptr<model::Model> outline, model::load(std::move(checkpoint), device, load));
    return token_bytes(*outline, device);
}

// Modules of one role and shape and encoding, for a table that a model of 6,000 matrices fits in.
struct Summary {
    std::string role, shape, from, to;
    int64_t count = 0, bytes_before = 0, bytes_after = 0;
    double worst = 0, squares = 0;
    std::string worst_name;
};

std::vector<Summary> summarize(const std::vector<checkpoint::QuantizedModule>& modules) {
    std::map<std::string, size_t> places;
    std::vector<Summary> lines;
    for (const auto& module : modules) {
        const std::string shape = fmt::format("{} x {}", module.n, module.k);
        const std::string key = fmt::format("{}/{}/{}/{}", checkpoint::name(module.role), shape,
                                            checkpoint::name(module.from), checkpoint::name(module.to));
        const auto [place, added] = places.try_emplace(key, lines.size());
        if (added)
            lines.push_back({.role = std::string(checkpoint::name(module.role)),
                             .shape = shape,
                             .from = std::string(checkpoint::name(module.from)),
                             .to = std::string(checkpoint::name(module.to))});
        Summary& line = lines[place->second];
        ++line.count;
        line.bytes_before += module.bytes_before;
        line.bytes_after += module.bytes_after;
        line.squares += module.relative_error * module.relative_error;
        if (module.relative_error >= line.worst) {
            line.worst = module.relative_error;
            line.worst_name = module.name;
        }
    }
    return lines;
}

void print_report(const checkpoint::QuantizeReport& report, bool every_module) {
    if (every_module)
        for (const auto& module : report.modules)
            fmt::print("{:<60} {:>14} {} -> {:<6} {:>7.3f} %\n", module.name,
                       fmt::format("{} x {}", module.n, module.k), checkpoint::name(module.from),
                       checkpoint::name(module.to), 100 * module.relative_error);
    fmt::print("{:<10} {:>6} {:>15} {:>13} {:>10} {:>10} {:>8} {:>8}  {}\n", "role", "count", "shape", "encoding",
               "MB before", "MB after", "error", "worst", "");
    for (const Summary& line : summarize(report.modules))
        fmt::print("{:<10} {:>6} {:>15} {:>13} {:>10.1f} {:>10.1f} {:>6.2f} % {:>6.2f} %  {}\n", line.role, line.count,
                   line.shape, line.from + " -> " + line.to, static_cast<double>(line.bytes_before) / 1e6,
                   static_cast<double>(line.bytes_after) / 1e6,
                   100 * std::sqrt(line.squares / static_cast<double>(line.count)), 100 * line.worst, line.worst_name);
}

Result<int> quantize(const QuantizeFlags& flags, const Settings& settings) {
    if (flags.print_config) {
        fmt::print("{}", describe(settings));
        return 0;
    }
    if (flags.model.empty() || (flags.out.empty() && !flags.dry_run))
        return error(ErrorCode::usage, "expected a model and a folder to write, found {}",
                     flags.model.empty() ? "neither" : "a model alone");
    checkpoint::QuantRules::Choices choices{.scheme = flags.scheme};
    TRY(choices.head, optional_encoding(flags.head, "--head"));
    TRY(choices.attention, optional_encoding(flags.attention, "--attention"));
    TRY(choices.mamba, optional_encoding(flags.mamba, "--mamba"));
    if (flags.scheme.empty() && !choices.head && !choices.attention && !choices.mamba)
        return error(ErrorCode::usage, "what is to be quantised? --scheme, or one of --head, --attention, --mamba");
    TRY(const auto rules, checkpoint::QuantRules::make(choices));
    TRY(const Folder folder, checkpoint::find_model_folder(flags.model));
    // Each matrix is read twice: the second time it shall still be in the page cache.
    TRY(const auto source, checkpoint::Checkpoint::open(folder, {.page_cache = checkpoint::PageCache::keep}));
    TRY(const auto modules, checkpoint::find_linear_modules(*source));
    TRY(const auto assignment, rules.assign(modules));
    for (const std::string& remark : assignment.remarks) fmt::print(stderr, "· {}\n", remark);
    if (flags.dry_run) {
        for (size_t i = 0; i < modules.size(); ++i)
            fmt::print("{:<60} {:<9} {:>14} {:<5} {}\n", modules[i].name, checkpoint::name(modules[i].role),
                       fmt::format("{} x {}", modules[i].n, modules[i].k), checkpoint::name(modules[i].format),
                       checkpoint::name(assignment.encodings[i]));
        return std::fflush(stdout) == 0 ? 0 : 1;
    }

    install_interrupt();
    ThreadPool threads(flags.threads);
    ProgressBar bar(stderr_is_terminal());
    checkpoint::InputStatistics inputs;
    if (!flags.calibrate.empty()) {
        TRY(inputs, observe_inputs(flags.model, flags.calibrate, flags.calibrate_tokens, threads, bar));
    }
    const auto start = Clock::now();
    TRY(const auto report,
        checkpoint::quantize(*source, modules, assignment.encodings, flags.out,
                             {.search = flags.search == "mse" ? numeric::ScaleSearch::mse : numeric::ScaleSearch::none,
                              .inputs = flags.calibrate.empty() ? nullptr : &inputs,
                              .threads = &threads,
                              .progress =
                                  [&](int64_t bytes, int64_t total) {
                                      bar.update("quantising", bytes, total);
                                      return !interrupted();
                                  },
                              .producer_version = std::string(version())}));
    bar.clear();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();

    // Both as a model reads them; a family that nibble does not run has no figure.
    const auto before = bytes_per_token(source);
    auto after = before ? [&]() -> Result<int64_t> {
        TRY(auto written, checkpoint::Checkpoint::open(flags.out, {.headers_only = true}));
        return bytes_per_token(std::move(written));
    }()
        : Result<int64_t>(int64_t{0});
    if (!after) return std::move(after).error();

    if (flags.json) {
        nlohmann::ordered_json record{{"out", flags.out},
                                      {"seconds", seconds},
                                      {"bytes_before", report.bytes_before},
                                      {"bytes_after", report.bytes_after}};
        if (before) record.update({{"bytes_per_token_before", *before}, {"bytes_per_token_after", *after}});
        for (const auto& module : report.modules)
            record["modules"].push_back({{"name", module.name},
                                         {"role", checkpoint::name(module.role)},
                                         {"n", module.n},
                                         {"k", module.k},
                                         {"from", checkpoint::name(module.from)},
                                         {"to", checkpoint::name(module.to)},
                                         {"relative_error", module.relative_error},
                                         {"bytes_before", module.bytes_before},
                                         {"bytes_after", module.bytes_after}});
        fmt::print("{}\n", record.dump(2));
    } else {
        print_report(report, flags.modules);
        fmt::print("{}: {} -> {} in {:.1f} s, {:.0f} MB/s with {} threads\n", flags.out,
                   describe_bytes(static_cast<uint64_t>(report.bytes_before)),
                   describe_bytes(static_cast<uint64_t>(report.bytes_after)), seconds,
                   static_cast<double>(report.bytes_before) / 1e6 / seconds, threads.size());
        if (before)
            fmt::print("a token reads {:.1f} MB, before {:.1f} MB\n", static_cast<double>(*after) / 1e6,
                       static_cast<double>(*before) / 1e6);
        else
            fmt::print(stderr, "· bytes of a token: {}\n", before.error().message);
    }
    return std::fflush(stdout) == 0 ? 0 : 1;
}

}  // namespace

void add_quantize(CLI::App& program, Action& action) {
    const auto flags = std::make_shared<QuantizeFlags>();
    CLI::App& verb = *program.add_subcommand("quantize", "Write a checkpoint again in NVFP4 and FP8");
    const auto formats = one_of({"nvfp4", "fp8", "keep"});
    verb.add_option("model", flags->model, "A folder, or org/name[@revision] in the Hugging Face cache")->type_name("");
    verb.add_option("out", flags->out, "The folder to write; it must not exist")->type_name("");
    verb.add_option("--scheme", flags->scheme, "all-nvfp4, nvidia-nano, nvidia-lightning, or a file of rules")
        ->type_name("NAME");
    verb.add_option("--head", flags->head, "nvfp4 or fp8 for the head, keep to leave it")
        ->check(formats)
        ->type_name("FORMAT");
    verb.add_option("--attention", flags->attention, "The same for attention's projections")
        ->check(formats)
        ->type_name("FORMAT");
    verb.add_option("--mamba", flags->mamba, "The same for the projections of Mamba layers")
        ->check(formats)
        ->type_name("FORMAT");
    verb.add_option("--search", flags->search, "How block scales are found: none (modelopt's max-scaling), mse")
        ->capture_default_str()
        ->check(one_of({"none", "mse"}))
        ->type_name("NAME");
    verb.add_option("--calibrate", flags->calibrate,
                    "A text for the model to read first: the search weighs by what it sees")
        ->check(existing_file())
        ->type_name("FILE");
    verb.add_option("--calibrate-tokens", flags->calibrate_tokens, "How much of it")
        ->capture_default_str()
        ->check(in_range<int64_t>(16, 1 << 24))
        ->type_name("N");
    verb.add_option("--threads", flags->threads, "Workers; 0: the physical cores")
        ->capture_default_str()
        ->check(in_range(0, 4096))
        ->type_name("N");
    verb.add_flag("--dry-run", flags->dry_run, "Show what each module would become, and end");
    verb.add_flag("--modules", flags->modules, "The error of every module, not only of each kind");
    verb.add_flag("--json", flags->json, "One JSON record on stdout");
    verb.add_option("--config", flags->config, "Flags from a YAML file")->type_name("FILE");
    verb.add_flag("--print-config", flags->print_config, "Show each value with its origin, and end");
    verb.callback(
        [flags, &action] { action = [flags](const Settings& settings) { return quantize(*flags, settings); }; });
}

}  // namespace nibble::cli
