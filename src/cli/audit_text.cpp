#include "cli/audit_text.h"

#include "cli/text_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

namespace nibble::cli {
namespace {

std::string upper(std::string_view text) {
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::toupper(c); });
    return out;
}

std::string percent(double share) {
    return share > 0 && share < 0.005 ? "<1 %" : fmt::format("{:.0f} %", 100 * share);
}

// "NVFP4", or "BF16 464, NVFP4 370": formats with their MB where there are several.
std::string formats_of(const PartCost& part) {
    if (part.weight_bytes_by_format.empty()) return "";
    std::vector<std::pair<double, std::string>> by_size;
    for (const auto& [format, bytes] : part.weight_bytes_by_format)
        by_size.push_back({bytes, upper(ops::name(format))});
    std::sort(by_size.rbegin(), by_size.rend());
    if (by_size.size() == 1) return by_size.front().second;
    std::vector<std::string> words;
    for (const auto& [bytes, name] : by_size) words.push_back(name + " " + megabytes(bytes));
    return fmt::format("{}", fmt::join(words, ", "));
}

std::string gb_per_second(const AuditDevice& device) {
    return fmt::format("{} GB/s", per_second(device.read_bytes_per_second / 1e9));
}

std::string source_line(const ModelAudit& audit) {
    const CheckpointSurvey& survey = audit.survey;
    std::string line = audit.name;
    if (audit.has_program()) line += fmt::format(": {}, {} layers", audit.spec.family, audit.spec.layers);
    line += "\n";
    if (survey.tensors > 0) {
        line += fmt::format("{} tensors", grouped(static_cast<double>(survey.tensors)));
        if (survey.bytes > 0) line += fmt::format(", {} bytes", grouped(static_cast<double>(survey.bytes)));
        line += fmt::format(" in {} file{}", survey.files, survey.files == 1 ? "" : "s");
        line += survey.basis == CheckpointSurvey::Basis::index ? " by the index\n" : "\n";
    }
    if (survey.checkpoint) line += survey.checkpoint->quant_scheme().summary() + "\n";
    if (survey.basis == CheckpointSurvey::Basis::tensors && survey.matrices > 0 && survey.checkpoint &&
        survey.checkpoint->quant_scheme().dialect() != checkpoint::Dialect::none)
        line += survey.matrices == survey.matrices_as_claimed
                    ? fmt::format("all {} matrices are stored as the config says\n",
                                  grouped(static_cast<double>(survey.matrices)))
                    : fmt::format("{} of {} matrices are stored as the config says\n",
                                  grouped(static_cast<double>(survey.matrices_as_claimed)),
                                  grouped(static_cast<double>(survey.matrices)));
    return line;
}

// What tensors and configs say of a part's matrices: "NVFP4, unquantised".
std::string claims_of(const ModelAudit& audit, Part part) {
    std::set<std::string> claims;
    for (const ModuleCost& line : audit.first().parts.modules)
        if (line.part == part && line.weight.n > 0 && line.weight.role != ops::WeightRead::Role::norm)
            claims.insert(stored_as(audit, line.weight).claims);
    claims.erase("");
    return fmt::format("{}", fmt::join(claims, ", "));
}

std::string parts_table(const ModelAudit& audit) {
    const AuditStep& step = audit.first();
    const ops::Cost& total = step.parts.total;
    const double all = step.bytes(), batch = static_cast<double>(step.batch);
    TextTable table("<>>>><<");
    table.add({"a token, MB", "read", "written", "share", "ops/byte", "stored as", "the config claims"});
    const auto add = [&](std::string_view what, double read, double written, double operations, std::string formats,
                         std::string claims = {}) {
        const double bytes = read + written;
        if (bytes <= 0) return;
        table.add({std::string(what), megabytes(read / batch), written > 0 ? megabytes(written / batch) : "",
                   percent(bytes / all), operations > 0 ? fmt::format("{:.1f}", operations / bytes) : "",
                   std::move(formats), std::move(claims)});
    };
    ops::Cost scan, scores;  // what is computed beside matrices belongs to the state and the cache
    for (const ModuleCost& line : step.parts.modules) {
        if (line.weight.n > 0) continue;
        if (line.cost.state_read_bytes + line.cost.state_written_bytes > 0) scan += line.cost;
        if (line.cost.kv_read_bytes + line.cost.kv_written_bytes > 0) scores += line.cost;
    }
    for (const PartCost& part : step.parts.parts) {
        double operations = part.cost.operations;
        if (part.cost.state_written_bytes > 0) operations -= scan.operations;
        if (part.cost.kv_written_bytes > 0) operations -= scores.operations;
        add(name(part.part), part.weight_bytes(), 0, operations, formats_of(part), claims_of(audit, part.part));
    }
    add(kStateSegment, static_cast<double>(total.state_read_bytes), static_cast<double>(total.state_written_bytes),
        scan.operations, fmt::format("F32, convolution {}", upper(numeric::name(audit.spec.state.conv_dtype))));
    add(kCacheSegment, static_cast<double>(total.kv_read_bytes), static_cast<double>(total.kv_written_bytes),
        scores.operations, upper(numeric::name(audit.spec.state.kv_dtype)));
    const double written = static_cast<double>(total.state_written_bytes + total.kv_written_bytes);
    table.add({"together", megabytes((all - written) / batch), written > 0 ? megabytes(written / batch) : "", "",
               fmt::format("{:.1f}", total.operations / all)});
    return table.text();
}

std::string ceilings_table(const ModelAudit& audit, std::span<const AuditDevice> devices) {
    const bool routed = audit.has_routers;
    TextTable table(std::string(">>>") + (routed ? ">" : "") + std::string(devices.size(), '>'));
    std::vector<std::string> head = {"sequences", "context", "a step"}, speeds = {"", "", ""};
    if (routed) {
        head.push_back("experts read");
        speeds.push_back("");
    }
    for (const AuditDevice& device : devices) {
        head.push_back(device.name);
        speeds.push_back(gb_per_second(device));
    }
    table.add(std::move(head));
    table.add(std::move(speeds));
    for (size_t i = 0; i < audit.steps.front().size(); ++i) {
        const AuditStep& step = audit.steps.front()[i];
        std::vector<std::string> row = {grouped(static_cast<double>(step.batch)),
                                        grouped(static_cast<double>(step.context)), decimal_bytes(step.bytes())};
        if (routed) row.push_back(fmt::format("{:.1f}", step.parts.distinct_experts));
        for (size_t d = 0; d < devices.size(); ++d)
            row.push_back(per_second(audit.steps[d][i].tokens_per_second(devices[d])));
        table.add(std::move(row));
    }
    return table.text();
}

std::string shrinks_of(const ModelAudit& audit, const AuditDevice& device) {
    if (audit.shrinks.empty()) return "";
    const AuditStep& step = audit.first();
    const auto batch = static_cast<double>(step.batch);
    const auto ceiling = [&](double saved) {
        return per_second(device.read_bytes_per_second * batch / (step.bytes() - saved));
    };
    std::string text =
        fmt::format("What to shrink, the most first; tokens/s on {}, each with those above it:\n", device.name);
    double saved = 0;
    const std::vector<std::string> commands = commands_of(audit.shrinks, audit.argument);
    for (size_t i = 0; i < audit.shrinks.size(); ++i) {
        const Shrink& shrink = audit.shrinks[i];
        const double own = shrink.saved_bytes();
        saved += own;
        text += fmt::format("  {}. {}: {} MB less, then {} and {} tokens/s", i + 1, shrink.what, megabytes(own / batch),
                            decimal_bytes((step.bytes() - saved) / batch), ceiling(saved));
        if (i > 0) text += fmt::format(" ({} alone)", ceiling(own));
        text += "\n";
        text += fmt::format("       {}\n", commands[i].empty() ? "nibble has no flag for it" : commands[i]);
        if (!shrink.milder_flags.empty())
            text += fmt::format("       milder: {} ({} MB less, {} alone)\n", shrink.milder_flags,
                                megabytes(shrink.milder_saved_bytes / batch), ceiling(shrink.milder_saved_bytes));
    }
    if (const std::string flags = flags_at_once(audit.shrinks); !flags.empty())
        text += fmt::format("  those at once: nibble quantize {} OUT {}\n", for_shell(audit.argument), flags);
    return text + "  Fewer bits cost quality; that is not measured here.\n";
}

// Which code would run, part by part; devices with the same rows are told together.
std::string rows_of(const ModelAudit& audit, std::span<const AuditDevice> devices) {
    std::vector<std::pair<std::string, std::vector<std::string>>> groups;
    std::vector<std::string> unknown;
    for (size_t d = 0; d < devices.size(); ++d) {
        if (!devices[d].has_rows) {
            unknown.push_back(devices[d].name);
            continue;
        }
        TextTable table("<<");
        for (const PartCost& part : audit.steps[d].front().parts.parts)
            table.add({std::string(name(part.part)), fmt::format("{}", fmt::join(part.rows, ", "))});
        std::string text = table.text();
        const auto same =
            std::find_if(groups.begin(), groups.end(), [&](const auto& group) { return group.first == text; });
        if (same != groups.end())
            same->second.push_back(devices[d].name);
        else
            groups.push_back({std::move(text), {devices[d].name}});
    }
    std::string text;
    for (const auto& [rows, names] : groups) text += fmt::format("\nRows on {}:\n{}", fmt::join(names, ", "), rows);
    if (!unknown.empty())
        text += fmt::format("\nRows on {}: this build has no CUDA rows and cannot tell.\n", fmt::join(unknown, ", "));
    return text;
}

// The same by the count of published figures, where that is another number.
std::string as_published(const ModelAudit& audit, const AuditDevice& device) {
    const double own = audit.first().bytes_per_token(), published = audit.bytes_as_published();
    if (decimal_bytes(own) == decimal_bytes(published)) return "";
    std::string text = fmt::format("published counts: {}, {} tokens/s (16-bit routers, no vectors)",
                                   decimal_bytes(published), per_second(device.read_bytes_per_second / published));
    for (const Shrink& shrink : audit.shrinks)
        for (const Segment& segment : shrink.saved)
            if (segment.name == kStateSegment)
                text +=
                    fmt::format("; {} with a 16-bit state",
                                decimal_bytes(published - segment.bytes / static_cast<double>(audit.first().batch)));
    return text + "\n";
}

// What is known of a model that nibble cannot run: formats, layer by layer alike.
std::string formats_table(const ModelAudit& audit) {
    struct Group {
        uint64_t modules = 0, bytes = 0;
    };
    std::map<std::tuple<std::string, std::string, std::string>, Group> groups;
    for (const auto& [module, surveyed] : audit.survey.modules) {
        Group& group = groups[{alike(module), surveyed.stored, surveyed.claimed}];
        ++group.modules;
        group.bytes += surveyed.bytes;
    }
    TextTable table("<>>><");
    if (!groups.empty()) {
        const bool tensors = audit.survey.basis == CheckpointSurvey::Basis::tensors;
        table.add({"module", "number", tensors ? "MB" : "", tensors ? "stored" : "", "claimed"});
        for (const auto& [key, group] : groups)
            table.add({std::get<0>(key), grouped(static_cast<double>(group.modules)),
                       tensors ? megabytes(static_cast<double>(group.bytes)) : "", std::get<1>(key), std::get<2>(key)});
        return table.text();
    }
    std::map<std::pair<std::string, std::string>, uint64_t> claims;
    for (const auto& entry : audit.survey.checkpoint->quant_scheme().entries())
        ++claims[{alike(entry.name), entry.claim.algorithm.empty() ? std::string(checkpoint::name(entry.claim.format))
                                                                   : entry.claim.algorithm}];
    if (claims.empty()) return "";
    table.add({"named by the config", "entries", "", "", "claimed"});
    for (const auto& [key, count] : claims)
        table.add({key.first, grouped(static_cast<double>(count)), "", "", key.second});
    return table.text();
}

}  // namespace

std::string headline(const ModelAudit& audit, const AuditDevice& device) {
    const AuditStep& step = audit.first();
    // The largest expense in one format of more than four bits, else the largest of all.
    std::string what;
    double most = 0;
    for (const bool wide : {true, false}) {
        for (const PartCost& part : step.parts.parts)
            for (const auto& [format, bytes] : part.weight_bytes_by_format)
                if (bytes > most && (!wide || format != ops::WeightFormat::nvfp4)) {
                    most = bytes;
                    what = fmt::format("{} {}", upper(ops::name(format)), name(part.part));
                }
        if (most > 0.05 * step.bytes()) break;
    }
    std::string title = device.title;
    if (title.starts_with("NVIDIA ")) title = "a " + title.substr(7);
    return fmt::format("{} a token, {} of it the {}: at most {} tokens/s on {} at {}",
                       decimal_bytes(step.bytes_per_token()), percent(most / step.bytes()), what,
                       per_second(step.tokens_per_second(device)), title, gb_per_second(device));
}

std::string describe_findings(const ModelAudit& audit) {
    std::string text;
    for (const Finding& finding : audit.survey.findings)
        text += fmt::format("{}: {}\n", finding.severity == Finding::Severity::error ? "error" : "warning",
                            finding.message);
    for (const std::string& assumption : audit.survey.assumptions) text += fmt::format("assumed: {}\n", assumption);
    return text;
}

std::string describe(const ModelAudit& audit, std::span<const AuditDevice> devices) {
    std::string text;
    if (audit.has_program())
        text += headline(audit, devices.front()) + "\n" + as_published(audit, devices.front()) + "\n";
    text += source_line(audit) + describe_findings(audit);
    if (!audit.has_program()) {
        if (!audit.survey.checkpoint) return text;
        const std::string formats = formats_table(audit);
        return formats.empty() ? text : text + "\n" + formats;
    }
    const AuditStep& step = audit.first();
    text += "\n";
    if (step.batch > 1 || step.context > 1)
        text += fmt::format("{} sequence{}, {} tokens of context:\n", grouped(static_cast<double>(step.batch)),
                            step.batch == 1 ? "" : "s", grouped(static_cast<double>(step.context)));
    text += parts_table(audit);
    text += fmt::format("\nCeilings, tokens/s of all sequences together{}:\n", !audit.has_routers ? ""
                                                                               : audit.uniform_routing
                                                                                   ? ", experts chosen uniformly"
                                                                                   : ", experts chosen as measured");
    text += ceilings_table(audit, devices);
    text += rows_of(audit, devices);
    if (const std::string shrinks = shrinks_of(audit, devices.front()); !shrinks.empty()) text += "\n" + shrinks;
    return text;
}

std::string describe_modules(const ModelAudit& audit, std::span<const AuditDevice> devices) {
    if (!audit.has_program()) return "";
    TextTable table("<><<>><");
    table.add({"module", "shape", "stored", "claimed", "MB", "ops/byte", "row"});
    const std::vector<ModuleCost>& lines = audit.first().parts.modules;
    for (size_t i = 0; i < lines.size(); ++i) {
        const ModuleCost& line = lines[i];
        const ops::WeightRead& weight = line.weight;
        const bool is_norm = weight.role == ops::WeightRead::Role::norm;
        std::vector<std::string> rows;
        for (size_t d = 0; d < devices.size(); ++d) {
            const auto& other = audit.steps[d].front().parts.modules;
            if (devices[d].has_rows && i < other.size()) rows.push_back(other[i].row.empty() ? "none" : other[i].row);
        }
        rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
        std::string shape = weight.n == 0 ? line.op : fmt::format("{} x {}", weight.n, weight.k);
        if (weight.count > 1) shape = fmt::format("{} x {}", weight.count, shape);
        if (is_norm) shape = fmt::format("norm {}", weight.n);
        const StoredAs stored = weight.n == 0 || is_norm ? StoredAs{} : stored_as(audit, weight);
        const auto bytes = static_cast<double>(line.cost.memory_bytes());
        table.add({line.module, std::move(shape),
                   weight.n == 0            ? ""
                   : stored.tensors.empty() ? upper(ops::name(weight.format))
                                            : stored.tensors,
                   stored.claims, megabytes(bytes),
                   bytes > 0 ? fmt::format("{:.1f}", line.cost.operations / bytes) : "",
                   fmt::format("{}", fmt::join(rows, " / "))});
    }
    return table.text(0);
}

}  // namespace nibble::cli
