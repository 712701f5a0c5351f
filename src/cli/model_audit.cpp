#include "cli/model_audit.h"

#include "cli/known_devices.h"
#include "cli/read_bandwidth.h"
#include "cli/routing_file.h"
#include "device/have_cuda.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

namespace nibble::cli {
namespace {

// The model as its headers tell it. A folder whose tensors and configs contradict each other is read once more without
// the configs' claims, so that its bytes are known all the same.
std::unique_ptr<model::Model> outline(CheckpointSurvey& survey, const AuditRequest& request,
                                      const device::Device& device) {
    model::LoadOptions load{.source = model::LoadOptions::Source::headers};
    if (request.kv_dtype) load.kv_dtype = *request.kv_dtype;
    const auto add_finding = [&](Error failure) {
        for (const Finding& finding : survey.findings)  // "…, and 5 more like it"
            if (finding.message.starts_with(failure.message)) return;
        survey.findings.push_back({Finding::Severity::error, failure.code, std::move(failure.message)});
    };
    auto loaded = model::load(survey.checkpoint, device, load);
    if (loaded) return *std::move(loaded);
    const bool contradiction =
        loaded.error().code == ErrorCode::model_invalid && survey.checkpoint->has_tensor_headers();
    add_finding(std::move(loaded).error());
    if (!contradiction) return nullptr;
    auto unclaimed = checkpoint::Checkpoint::open(survey.checkpoint->folder(), {.headers_only = true, .claims = false});
    if (!unclaimed) return nullptr;
    loaded = model::load(*unclaimed, device, load);
    if (!loaded) {
        add_finding(std::move(loaded).error());
        return nullptr;
    }
    survey.assumptions.push_back("bytes are counted by what the tensors are, not by what the config claims");
    return *std::move(loaded);
}

std::vector<int64_t> contexts_within(const AuditRequest& request, const model::Spec& spec, CheckpointSurvey& survey) {
    std::vector<int64_t> contexts;
    for (int64_t context : request.contexts) {
        if (!request.contexts_asked_for) context = std::min(context, spec.max_context - 1);
        if (context < spec.max_context) {
            if (std::find(contexts.begin(), contexts.end(), context) == contexts.end()) contexts.push_back(context);
            continue;
        }
        survey.findings.push_back(
            {Finding::Severity::error, ErrorCode::usage,
             fmt::format("{}: max_position_embeddings: {} tokens are the longest context, and one of them is the new "
                         "one; --context {} is left out",
                         survey.checkpoint->config().file(), spec.max_context, context)});
    }
    if (contexts.empty()) contexts.push_back(std::min<int64_t>(1, spec.max_context - 1));
    return contexts;
}

void warn_of_missing_rows(ModelAudit& audit, const AuditRequest& request) {
    for (size_t d = 0; d < request.devices.size(); ++d) {
        if (!request.devices[d].has_rows) continue;
        std::vector<std::string> missing;
        for (const ModuleCost& line : audit.steps[d].front().parts.modules)
            if (line.row.empty())
                missing.push_back(fmt::format("{} for {} {}", line.op, line.module,
                                              line.weight.n > 0 ? ops::name(line.weight.format) : ""));
        if (missing.empty()) continue;
        const size_t count = missing.size();
        missing.resize(1);
        audit.survey.findings.push_back(
            {Finding::Severity::error, ErrorCode::unsupported,
             fmt::format("{}: no row of this build runs op {}{}", request.devices[d].title, missing.front(),
                         count > 1 ? fmt::format(", and {} more", count - 1) : "")});
    }
}

}  // namespace

Result<AuditDevice> find_audit_device(std::string_view name, std::optional<double> bytes_per_second) {
    AuditDevice found{.name = std::string(name)};
    if (const KnownDevice* known = find_known_device(name)) {
        found.title = known->title;
        found.device = known->device();
        found.read_bytes_per_second = known->read_gb_s * 1e9;
        found.basis = known->read_basis;
        found.has_rows = device::kHaveCuda;
    } else {
        auto present = device::find_device(name);
        if (!present && present.error().code == ErrorCode::usage) {
            std::vector<std::string_view> names;
            for (const KnownDevice& device : known_devices()) names.push_back(device.name);
            return error(ErrorCode::usage, "--device: expected {}, cpu, cuda or auto, found {}", fmt::join(names, ", "),
                         name);
        }
        TRY(found.device, std::move(present));
        found.title = found.device.name;
        found.has_rows = true;
        if (!bytes_per_second) {
            ThreadPool threads;
            TRY(found.read_bytes_per_second, measure_read_bandwidth(found.device, threads));
            found.basis = "measured now on this machine";
        }
    }
    if (bytes_per_second) {
        found.read_bytes_per_second = *bytes_per_second;
        found.basis = "given";
    }
    return found;
}

double ModelAudit::bytes_as_published() const {
    const ProgramParts& parts = first().parts;
    const ops::Cost& total = parts.total;
    double bytes = static_cast<double>(total.kv_read_bytes + total.kv_written_bytes) +
                   static_cast<double>(total.state_read_bytes + total.state_written_bytes) * matrix_share(spec.state);
    using Role = ops::WeightRead::Role;
    for (const ModuleCost& line : parts.modules) {
        if (line.weight.n == 0 || line.weight.role == Role::norm) continue;
        const bool halved = line.weight.role == Role::router && line.weight.format == ops::WeightFormat::f32;
        bytes += static_cast<double>(line.cost.weight_bytes) / (halved ? 2 : 1);
    }
    return bytes / static_cast<double>(first().batch);
}

StoredAs stored_as(const ModelAudit& audit, const ops::WeightRead& weight) {
    const CheckpointSurvey& survey = audit.survey;
    std::set<std::string> tensors, claims;
    for (const std::string& module : modules_behind(weight)) {
        if (const auto found = survey.modules.find(module); found != survey.modules.end()) {
            tensors.insert(found->second.stored);
            claims.insert(found->second.claimed);
        } else {
            const checkpoint::Claim claim = survey.checkpoint->quant_scheme().claim(module);
            if (claim.format != checkpoint::ClaimedFormat::none) claims.emplace(checkpoint::name(claim.format));
        }
    }
    tensors.erase("");
    claims.erase("");
    return {fmt::format("{}", fmt::join(tensors, ", ")), fmt::format("{}", fmt::join(claims, ", "))};
}

int ModelAudit::exit_status() const {
    int status = 0;
    for (const Finding& finding : survey.findings)
        if (finding.severity == Finding::Severity::error) status = std::max(status, exit_code(finding.code));
    return status;
}

Result<ModelAudit> audit_model(std::string_view argument, const AuditRequest& request) {
    ModelAudit audit{.argument = std::string(argument)};
    TRY(const Folder folder, checkpoint::find_model_folder(argument));
    TRY(audit.survey, survey_checkpoint(folder));
    audit.name = folder.name();
    if (!audit.survey.checkpoint) return audit;

    std::vector<int64_t> contexts;
    std::optional<ops::RoutingModel> routing;
    std::vector<std::vector<AuditStep>> steps;
    for (const AuditDevice& device : request.devices) {
        const auto model = outline(audit.survey, request, device.device);
        if (!model) return audit;
        if (contexts.empty()) {
            audit.spec = model->spec();
            audit.name = audit.spec.name;
            contexts = contexts_within(request, audit.spec, audit.survey);
            if (!request.routing_file.empty()) {
                TRY(routing, read_routing_file(request.routing_file, model::record(*model, device.device, 1, 1, 0)));
                audit.uniform_routing = false;
            }
        }
        std::vector<AuditStep>& of_device = steps.emplace_back();
        for (const int64_t context : contexts)
            for (const int64_t batch : request.batches)
                of_device.push_back({.batch = batch,
                                     .context = context,
                                     .parts = parts_of(model::record(*model, device.device, batch, 1, context,
                                                                     routing ? &*routing : nullptr),
                                                       batch)});
    }
    audit.steps = std::move(steps);
    if (audit.survey.basis != CheckpointSurvey::Basis::tensors && audit.first().parts.routed_layers > 0)
        audit.survey.assumptions.push_back("routers are F32, which no config tells");
    audit.has_routers = audit.first().parts.routed_layers > 0;
    audit.shrinks = shrink_list(audit.first().parts, audit.spec.state, request.devices.front().device);
    warn_of_missing_rows(audit, request);
    return audit;
}

}  // namespace nibble::cli
