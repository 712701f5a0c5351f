// audit: what a token of a model costs in bytes, the ceiling that follows, and what to shrink, from headers and configs
// alone.
#include "cli/audit_comparison.h"
#include "cli/audit_json.h"
#include "cli/audit_svg.h"
#include "cli/audit_text.h"
#include "cli/flags.h"
#include "cli/model_audit.h"
#include "cli/option_checks.h"
#include "cli/terminal.h"
#include "cli/token_bytes.h"
#include "cli/verb.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace nibble::cli {
namespace {

// The machines that these models are served on; the first is the one that sentences speak of.
const std::vector<std::string> kUsualDevices = {kFirstDevice, "rtx5090", "h100", "h200"};
const std::vector<int64_t> kUsualContexts = {kFirstContext, 32768};
constexpr int64_t kMostSequences = 4096, kMostContext = int64_t{1} << 28;

struct AuditFlags {
    std::vector<std::string> models, devices;
    std::optional<double> bandwidth;  // GB/s
    std::vector<int64_t> batches = {1, 4, 16}, contexts;
    std::string kv_cache_dtype = "auto", routing, svg, config;
    bool modules = false, json = false, print_config = false;
};

Result<AuditRequest> request_of(const AuditFlags& flags) {
    AuditRequest request{.batches = flags.batches,
                         .contexts = flags.contexts.empty() ? kUsualContexts : flags.contexts,
                         .contexts_asked_for = !flags.contexts.empty(),
                         .routing_file = flags.routing};
    std::optional<double> bytes_per_second;
    if (flags.bandwidth) bytes_per_second = *flags.bandwidth * 1e9;
    if (flags.kv_cache_dtype.starts_with("b")) request.kv_dtype = device::DType::bf16;
    if (flags.kv_cache_dtype.starts_with("float") || flags.kv_cache_dtype == "f32")
        request.kv_dtype = device::DType::f32;
    if (flags.kv_cache_dtype.starts_with("fp8")) request.kv_dtype = device::DType::f8_e4m3;
    std::vector<std::string> names = flags.devices;
    if (names.empty()) names = bytes_per_second ? std::vector<std::string>{"auto"} : kUsualDevices;
    for (const std::string& name : names) {
        TRY(AuditDevice device, find_audit_device(name, bytes_per_second));
        request.devices.push_back(std::move(device));
    }
    return request;
}

Result<void> write_file(const std::string& path, const std::string& text) {
    std::FILE* file = std::fopen(path.c_str(), "wb");
    bool written = file != nullptr && std::fwrite(text.data(), 1, text.size(), file) == text.size();
    const int reason = errno;
    if (file != nullptr) written = std::fclose(file) == 0 && written;
    if (written) return {};
    return error(ErrorCode::io, "{}: cannot be written: {}", path, std::strerror(reason));
}

// Names are the checkpoint's: a terminal must not obey them.
void print(const std::string& text) {
    fmt::print("{}", without_controls(text));
}

void print_for_people(const AuditFlags& flags, const std::vector<AuditDevice>& devices, const ModelAudit& model,
                      const ModelAudit* other) {
    if (other != nullptr && model.has_program() && other->has_program()) {
        print(describe_comparison(model, *other, devices.front()));
        for (const ModelAudit* one : {&model, other})
            if (const std::string findings = describe_findings(*one); !findings.empty())
                print(fmt::format("\n{}\n{}", one->name, findings));
    } else {
        print(describe(model, devices));
        if (other != nullptr) print("\n" + describe(*other, devices));
    }
    if (!flags.modules) return;
    print("\n" + describe_modules(model, devices));
    if (other != nullptr) print("\n" + describe_modules(*other, devices));
}

Result<int> audit(const AuditFlags& flags, const Settings& settings) {
    if (flags.print_config) {
        fmt::print("{}", describe(settings));
        return 0;
    }
    if (flags.models.empty()) return error(ErrorCode::usage, "a model is required: a folder, or org/name");
    TRY(const AuditRequest request, request_of(flags));
    std::vector<ModelAudit> models;
    for (const std::string& argument : flags.models) {
        TRY(ModelAudit model, audit_model(argument, request));
        models.push_back(std::move(model));
    }
    const ModelAudit* other = models.size() > 1 ? &models[1] : nullptr;
    if (flags.json)
        fmt::print("{}", audit_json(models.front(), other, request.devices, flags.modules));
    else
        print_for_people(flags, request.devices, models.front(), other);
    if (std::fflush(stdout) != 0) return error(ErrorCode::io, "stdout: {}", std::strerror(errno));
    int status = 0;
    for (const ModelAudit& model : models) {
        status = std::max(status, model.exit_status());
        if (!flags.svg.empty() && !model.has_program())
            fmt::print(stderr, "nibble audit: {} is not written: the bytes of {} are not known\n", flags.svg,
                       without_controls(model.name));
    }
    if (!flags.svg.empty() &&
        std::all_of(models.begin(), models.end(), [](const ModelAudit& m) { return m.has_program(); }))
        TRY_VOID(write_file(flags.svg, audit_svg(models.front(), other, request.devices.front())));
    return status;
}

}  // namespace

void add_audit(CLI::App& program, Action& action) {
    CLI::App* verb = program.add_subcommand("audit", "What a token costs in bytes, the ceiling, and what to shrink");
    const auto flags = std::make_shared<AuditFlags>();
    verb->add_option("model", flags->models,
                     "A folder, or org/name[@revision] in the Hugging Face cache; two are compared")
        ->type_name("")
        ->expected(1, 2);
    verb->add_option("--device", flags->devices,
                     "gb10, rtx5090, h100, h200; or of this machine: cpu, cuda, cuda:1, auto, which are measured")
        ->delimiter(',')
        ->type_name("NAME")
        ->default_str("gb10,rtx5090,h100,h200");
    verb->add_option("--bandwidth", flags->bandwidth, "GB/s at which memory is read, instead of the device's")
        ->check(in_range(0.001, 1e6))
        ->type_name("GB/s");
    verb->add_option("--batch", flags->batches, "Sequences that decode at once; several are shown in turn")
        ->delimiter(',')
        ->check(in_range(int64_t{1}, kMostSequences))
        ->type_name("N")
        ->capture_default_str();
    verb->add_option("--context", flags->contexts, "Tokens that each of them has already; several are shown in turn")
        ->delimiter(',')
        ->check(in_range(int64_t{0}, kMostContext))
        ->type_name("N")
        ->default_str("1,32768");
    verb->add_option("--kv-cache-dtype", flags->kv_cache_dtype, "auto, bfloat16, float32, fp8")
        ->capture_default_str()
        ->check(one_of({"auto", "bfloat16", "bf16", "float32", "f32", "fp8", "fp8_e4m3"}))
        ->type_name("TYPE");
    verb->add_option("--routing", flags->routing,
                     "How often each expert was chosen, as JSON, instead of uniform routing")
        ->type_name("FILE");
    verb->add_flag("--modules", flags->modules, "A line for each matrix, with the row that would run");
    verb->add_flag("--json", flags->json, "One record on stdout");
    verb->add_option("--svg", flags->svg, "Draw the bytes of a token beside the ceiling")->type_name("FILE");
    verb->add_option("--config", flags->config, "Flags from a YAML file")->type_name("FILE");
    verb->add_flag("--print-config", flags->print_config, "Show each value with its origin, and end");
    verb->callback(
        [&action, flags] { action = [flags](const Settings& settings) { return audit(*flags, settings); }; });
}

}  // namespace nibble::cli
