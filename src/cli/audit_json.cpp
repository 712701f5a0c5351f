#include "cli/audit_json.h"

#include "cli/audit_comparison.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>

namespace nibble::cli {
namespace {

using Json = nlohmann::ordered_json;

// Bytes are whole, other figures have three decimals.
int64_t whole(double value) {
    return std::llround(value);
}
double rounded(double value) {
    return std::round(value * 1000) / 1000;
}

std::string_view basis_name(CheckpointSurvey::Basis basis) {
    switch (basis) {
        case CheckpointSurvey::Basis::tensors:
            return "tensors";
        case CheckpointSurvey::Basis::index:
            return "index";
        case CheckpointSurvey::Basis::config:
            break;
    }
    return "config";
}

Json cost_json(const ops::Cost& cost) {
    const double bytes = static_cast<double>(cost.memory_bytes());
    return {{"weight_bytes", cost.weight_bytes},
            {"kv_read_bytes", cost.kv_read_bytes},
            {"kv_written_bytes", cost.kv_written_bytes},
            {"state_read_bytes", cost.state_read_bytes},
            {"state_written_bytes", cost.state_written_bytes},
            {"operations", whole(cost.operations)},
            {"operations_per_byte", bytes > 0 ? rounded(cost.operations / bytes) : 0}};
}

Json part_json(const PartCost& part) {
    Json json = {{"part", name(part.part)}};
    json.update(cost_json(part.cost));
    json["values"] = whole(part.values);
    json["bits_per_value"] = rounded(part.bits_per_value());
    for (const auto& [format, bytes] : part.weight_bytes_by_format)
        json["weight_bytes_by_format"][std::string(ops::name(format))] = whole(bytes);
    return json;
}

Json steps_json(const ModelAudit& audit, std::span<const AuditDevice> devices) {
    Json steps = Json::array();
    for (size_t i = 0; i < audit.steps.front().size(); ++i) {
        const AuditStep& step = audit.steps.front()[i];
        Json json = {{"batch", step.batch},
                     {"context", step.context},
                     {"step_bytes", whole(step.bytes())},
                     {"bytes_per_token", whole(step.bytes_per_token())},
                     {"mean_distinct_experts", rounded(step.parts.distinct_experts)},
                     {"total", cost_json(step.parts.total)}};
        for (const PartCost& part : step.parts.parts) {
            Json its = part_json(part);
            for (size_t d = 0; d < devices.size(); ++d)
                for (const PartCost& there : audit.steps[d][i].parts.parts)
                    if (devices[d].has_rows && there.part == part.part) its["rows"][devices[d].name] = there.rows;
            json["parts"].push_back(std::move(its));
        }
        for (size_t d = 0; d < devices.size(); ++d)
            json["ceiling_tokens_per_second"][devices[d].name] =
                rounded(audit.steps[d][i].tokens_per_second(devices[d]));
        steps.push_back(std::move(json));
    }
    return steps;
}

Json shrinks_json(const ModelAudit& audit, std::span<const AuditDevice> devices) {
    Json list = Json::array();
    const AuditStep& step = audit.first();
    const auto ceilings = [&](double saved) {
        Json json;
        for (const AuditDevice& device : devices)
            json[device.name] =
                rounded(device.read_bytes_per_second * static_cast<double>(step.batch) / (step.bytes() - saved));
        return json;
    };
    double saved = 0;
    const std::vector<std::string> commands = commands_of(audit.shrinks, audit.argument);
    for (const Shrink& shrink : audit.shrinks) {
        saved += shrink.saved_bytes();
        const std::string& command = commands[list.size()];
        Json json = {{"what", shrink.what},
                     {"command", command.empty() ? Json() : Json(command)},
                     {"saved_bytes_per_token", whole(shrink.saved_bytes() / static_cast<double>(step.batch))},
                     {"ceiling_alone", ceilings(shrink.saved_bytes())},
                     {"ceiling_with_those_before", ceilings(saved)}};
        if (!shrink.milder_flags.empty())
            json["milder"] = {
                {"flags", shrink.milder_flags},
                {"saved_bytes_per_token", whole(shrink.milder_saved_bytes / static_cast<double>(step.batch))},
                {"ceiling_alone", ceilings(shrink.milder_saved_bytes)}};
        list.push_back(std::move(json));
    }
    return list;
}

Json modules_json(const ModelAudit& audit, std::span<const AuditDevice> devices) {
    Json list = Json::array();
    if (!audit.has_program()) {
        for (const auto& [module, surveyed] : audit.survey.modules)
            list.push_back({{"module", module},
                            {"tensors", surveyed.tensors},
                            {"bytes", surveyed.bytes},
                            {"stored", surveyed.stored},
                            {"claimed", surveyed.claimed},
                            {"because", surveyed.because}});
        return list;
    }
    const std::vector<ModuleCost>& lines = audit.first().parts.modules;
    for (size_t i = 0; i < lines.size(); ++i) {
        const ModuleCost& line = lines[i];
        Json json = {{"module", line.module}, {"part", name(line.part)}, {"op", line.op}, {"shape", line.shape}};
        if (line.weight.n > 0) {
            json["format"] = ops::name(line.weight.format);
            json["n"] = line.weight.n;
            json["k"] = line.weight.k;
            json["count"] = line.weight.count;
            json["read"] = rounded(line.weight.read);
            if (line.weight.role != ops::WeightRead::Role::norm) {
                const StoredAs stored = stored_as(audit, line.weight);
                json["stored"] = stored.tensors;
                json["claimed"] = stored.claims;
            }
        }
        json.update(cost_json(line.cost));
        for (size_t d = 0; d < devices.size(); ++d) {
            const auto& other = audit.steps[d].front().parts.modules;
            if (!devices[d].has_rows || i >= other.size()) continue;
            json["rows"][devices[d].name] = other[i].row.empty() ? Json() : Json(other[i].row);
        }
        list.push_back(std::move(json));
    }
    return list;
}

Json model_json(const ModelAudit& audit, std::span<const AuditDevice> devices, bool modules) {
    const CheckpointSurvey& survey = audit.survey;
    Json json = {{"model", audit.name}, {"argument", audit.argument}};
    if (survey.checkpoint) {
        json["folder"] = survey.checkpoint->folder().string();
        json["quantisation"] = survey.checkpoint->quant_scheme().summary();
    }
    json["basis"] = basis_name(survey.basis);
    json["tensors"] = survey.tensors;
    json["tensor_bytes"] = survey.bytes;
    json["files"] = survey.files;
    json["matrices"] = survey.matrices;
    json["matrices_as_claimed"] = survey.matrices_as_claimed;
    json["assumptions"] = survey.assumptions;
    json["findings"] = Json::array();
    for (const Finding& finding : survey.findings)
        json["findings"].push_back({{"severity", finding.severity == Finding::Severity::error ? "error" : "warning"},
                                    {"code", code_name(finding.code)},
                                    {"message", finding.message}});
    if (audit.has_program()) {
        json["family"] = audit.spec.family;
        json["layers"] = audit.spec.layers;
        json["max_context"] = audit.spec.max_context;
        json["routing"] = audit.uniform_routing ? "uniform" : "measured";
        json["bytes_per_token_as_published"] = whole(audit.bytes_as_published());
        json["steps"] = steps_json(audit, devices);
        json["shrink"] = shrinks_json(audit, devices);
    }
    if (modules) json["modules"] = modules_json(audit, devices);
    return json;
}

Json comparison_json(const ModelAudit& a, const ModelAudit& b) {
    Json list = Json::array();
    for (const ComparedPart& part : compare(a, b))
        list.push_back({{"part", part.name},
                        {"bytes", {whole(part.a.bytes), whole(part.b.bytes)}},
                        {"values", {whole(part.a.values), whole(part.b.values)}},
                        {"bits_per_value", {rounded(part.a.bits()), rounded(part.b.bits())}}});
    return list;
}

}  // namespace

std::string audit_json(const ModelAudit& audit, const ModelAudit* other, std::span<const AuditDevice> devices,
                       bool modules) {
    Json json;
    json["devices"] = Json::array();
    for (const AuditDevice& device : devices)
        json["devices"].push_back({{"name", device.name},
                                   {"title", device.title},
                                   {"read_gb_per_second", rounded(device.read_bytes_per_second / 1e9)},
                                   {"basis", device.basis},
                                   {"rows_known", device.has_rows}});
    json["models"].push_back(model_json(audit, devices, modules));
    if (other != nullptr) {
        json["models"].push_back(model_json(*other, devices, modules));
        if (audit.has_program() && other->has_program()) json["comparison"] = comparison_json(audit, *other);
    }
    // Names of files may hold any bytes.
    return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace nibble::cli
