// plan: the memory of a server line by line, before there is one: the plan that serve makes, for this machine or for a
// device that is not here, from headers and configs alone.
#include "base/bytes.h"
#include "cli/flags.h"
#include "cli/memory_plan.h"
#include "cli/model_flags.h"
#include "cli/model_outline.h"
#include "cli/verb.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
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

struct PlanFlags {
    ModelFlags model;
    bool json = false;
};

constexpr uint64_t kServeSequences = 64;  // what serve takes when nothing is said
constexpr std::array<uint64_t, 8> kGrid = {1, 2, 4, 8, 16, 32, 64, 128};

// What the figures rest on besides the files and the device.
std::vector<std::string> assumptions(const ModelOutline& outline) {
    std::vector<std::string> lines;
    if (outline.described != nullptr)
        lines.push_back(fmt::format("{} is described and not read: {} of memory, none of it in use by others",
                                    outline.device.name,
                                    describe_bytes(static_cast<uint64_t>(outline.memory.total_bytes))));
    if (!outline.checkpoint->has_tensor_headers())
        lines.push_back("the folder has no tensors: shapes and formats are what its config claims");
    if (std::any_of(outline.decode.steps.begin(), outline.decode.steps.end(),
                    [](const ops::ProgramStep& step) { return step.row.empty(); }))
        lines.push_back("this binary has no kernels for the device: scratch is that of the activations alone");
    return lines;
}

nlohmann::ordered_json record_of(const PlanFlags& flags, const ModelOutline& outline, const Plan& plan,
                                 const std::vector<Fit>& grid) {
    const model::Spec& spec = outline.model->spec();
    nlohmann::ordered_json record = {{"model", flags.model.model},
                                     {"family", spec.family},
                                     {"device",
                                      {{"name", outline.device.name},
                                       {"described", outline.described != nullptr},
                                       {"unified_memory", outline.device.unified_memory},
                                       {"total_bytes", outline.memory.total_bytes},
                                       {"available_bytes", outline.memory.available_bytes}}},
                                     {"lines", nlohmann::ordered_json::array()},
                                     {"total_bytes", plan.total_bytes},
                                     {"budget_bytes", plan.budget_bytes},
                                     {"budget", plan.budget_sum},
                                     {"reserve_bytes", plan.reserve_bytes},
                                     {"max_model_len", plan.context},
                                     {"max_num_seqs", plan.sequences},
                                     {"pages", plan.pages},
                                     {"page_tokens", spec.state.page_size},
                                     {"page_bytes", spec.state.page_bytes()},
                                     {"slots", plan.slots},
                                     {"slot_bytes", spec.state.slot_bytes()},
                                     {"model_context", spec.max_context},
                                     {"fits", nlohmann::ordered_json::array()},
                                     {"assumed", assumptions(outline)}};
    for (const Plan::Line& line : plan.lines)
        record["lines"].push_back({{"what", line.what}, {"bytes", line.bytes}, {"how", line.sum}});
    for (const Fit& fit : grid)
        record["fits"].push_back(
            {{"sequences", fit.sequences}, {"context_each", fit.each}, {"context_alone", fit.alone}});
    return record;
}

std::string tokens_text(uint64_t tokens) {
    return tokens == 0 ? "-" : fmt::format("{}", tokens);
}

void print(const PlanFlags& flags, const ModelOutline& outline, const Plan& plan, const std::vector<Fit>& grid) {
    const model::Spec& spec = outline.model->spec();
    fmt::print("{} ({}) on {}: {} sequences at once, up to {} tokens each\n\n", flags.model.model, spec.family,
               outline.device.name, plan.sequences, plan.context);
    size_t width = std::string_view("together").size();
    for (const Plan::Line& line : plan.lines) width = std::max(width, line.what.size());
    const auto row = [&](std::string_view what, uint64_t bytes, std::string_view how) {
        fmt::print("  {:<{}}  {:>16}  {:>10}  {}\n", what, width, bytes, describe_bytes(bytes), how);
    };
    fmt::print("  {:<{}}  {:>16}\n", "", width, "bytes");
    for (const Plan::Line& line : plan.lines) row(line.what, line.bytes, line.sum);
    row("together", plan.total_bytes, "");
    row("budget", plan.budget_bytes, plan.budget_sum);
    row("reserve", plan.reserve_bytes, plan.reserve_sum);
    fmt::print("\nThe longest context, in tokens, by the sequences that run at once (the model's is {}):\n",
               spec.max_context);
    fmt::print("  {:>9}  {:>16}  {:>16}\n", "sequences", "for each of them", "for one of them");
    for (const Fit& fit : grid)
        fmt::print("  {:>9}  {:>16}  {:>16}\n", fit.sequences, tokens_text(fit.each), tokens_text(fit.alone));
    for (const std::string& line : assumptions(outline)) fmt::print("\n{}", line);
    fmt::print("{}", assumptions(outline).empty() ? "" : "\n");
}

Result<int> plan(const PlanFlags& flags, const Settings& settings) {
    if (flags.model.print_config) {
        fmt::print("{}", describe(settings));
        return 0;
    }
    TRY(const ModelOutline outline, outline_model(flags.model, {.known_devices = true, .headers_only = true}));
    const PlanInput input = plan_input(outline, flags.model, kServeSequences);
    TRY(const Plan made, make_plan(input));
    std::vector<uint64_t> sequences(kGrid.begin(), kGrid.end());
    if (const auto asked = static_cast<uint64_t>(made.sequences);
        std::find(sequences.begin(), sequences.end(), asked) == sequences.end())
        sequences.push_back(asked);
    std::sort(sequences.begin(), sequences.end());
    TRY(const std::vector<Fit> grid, longest_contexts(input, sequences));
    if (flags.json)
        fmt::print("{}\n", record_of(flags, outline, made, grid).dump(2));
    else
        print(flags, outline, made, grid);
    return std::fflush(stdout) == 0 ? 0 : 1;
}

}  // namespace

void add_plan(CLI::App& program, Action& action) {
    const auto flags = std::make_shared<PlanFlags>();
    CLI::App& verb = *program.add_subcommand("plan", "Show the memory that serve would take, line by line");
    add_model_flags(verb, flags->model);
    std::vector<std::string> names;
    for (const KnownDevice& device : known_devices()) names.emplace_back(device.name);
    verb.get_option("--device")
        ->description(fmt::format("cpu, cuda, cuda:1, auto; or one that is not here: {}", fmt::join(names, ", ")));
    verb.get_option("--max-num-seqs")->default_str("64, or what fits");
    verb.add_flag("--json", flags->json, "One JSON record on stdout");
    verb.callback([flags, &action] { action = [flags](const Settings& settings) { return plan(*flags, settings); }; });
}

}  // namespace nibble::cli
