#include "cli/program_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace nibble::cli {
namespace {

using ops::ProgramStep;
using ops::WeightRead;
using Role = WeightRead::Role;

std::string_view parent(std::string_view module) {
    const size_t dot = module.rfind('.');
    return dot == std::string_view::npos ? std::string_view() : module.substr(0, dot);
}

// Tells the part of each step. Blocks are known by the op that only they have.
class Classifier {
public:
    explicit Classifier(const ops::Program& program) {
        for (const ProgramStep& step : program.steps)
            if (const Part part = part_of_op(step.op); part != Part::other) blocks_.emplace(step.module, part);
    }

    // In the order of the program: what comes after the choice of logit rows is the head.
    Part part_of(const ProgramStep& step) {
        if (step.op == "gather_rows") in_head_ = true;
        if (step.op == "embed") return Part::embedding;
        if (step.op == "rms_norm") return Part::norms;
        if (in_head_) return Part::head;
        if (const Part own = part_of_op(step.op); own != Part::other) return own;
        return part_of_block(step.op == "linear" ? parent(step.module) : step.module);
    }

private:
    static Part part_of_op(std::string_view op) {
        if (op == "mamba") return Part::mamba;
        if (op == "delta") return Part::linear_attention;
        if (op == "attention") return Part::attention;
        if (op == "moe") return Part::routed_experts;
        return Part::other;
    }
    Part part_of_block(std::string_view block) const {
        for (std::string_view outer = block; !outer.empty(); outer = parent(outer))
            if (const auto found = blocks_.find(outer); found != blocks_.end())
                return found->second == Part::routed_experts ? Part::shared_expert : found->second;
        return Part::mlp;
    }

    std::map<std::string, Part, std::less<>> blocks_;
    bool in_head_ = false;
};

Part part_of_role(Role role, Part of_step) {
    switch (role) {
        case Role::router:
            return Part::router;
        case Role::routed_experts:
            return Part::routed_experts;
        case Role::shared_expert:
            return Part::shared_expert;
        case Role::norm:
            return Part::norms;
        case Role::matrix:
            break;
    }
    return of_step;
}

double values_of(const WeightRead& weight) {
    return weight.read * static_cast<double>(weight.n) * static_cast<double>(weight.k);
}

}  // namespace

std::string_view name(Part part) {
    switch (part) {
        case Part::mamba:
            return "mamba";
        case Part::linear_attention:
            return "linear attention";
        case Part::attention:
            return "attention";
        case Part::mlp:
            return "MLP";
        case Part::routed_experts:
            return "routed experts";
        case Part::shared_expert:
            return "shared expert";
        case Part::router:
            return "router";
        case Part::head:
            return "head";
        case Part::embedding:
            return "embedding";
        case Part::norms:
            return "norms";
        case Part::other:
            break;
    }
    return "other";
}

std::vector<Segment> segments_of(const ProgramParts& parts) {
    std::vector<Segment> segments;
    const auto add = [&](std::string_view what, int64_t bytes) {
        if (bytes > 0) segments.push_back({std::string(what), static_cast<double>(bytes)});
    };
    for (const PartCost& part : parts.parts) add(name(part.part), part.cost.weight_bytes);
    add(kStateSegment, parts.total.state_read_bytes + parts.total.state_written_bytes);
    add(kCacheSegment, parts.total.kv_read_bytes + parts.total.kv_written_bytes);
    return segments;
}

std::vector<std::string> modules_behind(const ops::WeightRead& weight) {
    const std::string prefix(parent(weight.module));
    const std::string dotted = prefix.empty() ? "" : prefix + ".";
    std::string_view last = std::string_view(weight.module).substr(dotted.size());
    std::vector<std::string> modules;
    if (weight.count > 1) {
        for (int64_t e = 0; e < weight.count; ++e) modules.push_back(fmt::format("{}{}.{}", dotted, e, last));
        return modules;
    }
    for (size_t end = 0; end != std::string_view::npos; last.remove_prefix(std::min(end + 1, last.size()))) {
        end = last.find('+');
        modules.push_back(dotted + std::string(last.substr(0, end)));
        if (end == std::string_view::npos) break;
    }
    return modules;
}

ProgramParts parts_of(const ops::Program& program, int64_t tokens) {
    ProgramParts result;
    Classifier classifier(program);
    for (const ProgramStep& step : program.steps) {
        const Part part = classifier.part_of(step);
        ops::Cost rest = step.cost;
        rest.activation_bytes = 0;
        if (step.cost.distinct_experts > 0) {
            result.distinct_experts += step.cost.distinct_experts;
            ++result.routed_layers;
        }
        const size_t first = result.modules.size();
        for (const WeightRead& weight : step.weights) {
            ModuleCost line{.part = part_of_role(weight.role, part),
                            .op = step.op,
                            .module = weight.module.empty() ? step.module : weight.module,
                            .row = step.row,
                            .shape = step.shape,
                            .weight = weight};
            line.cost.weight_bytes = std::llround(weight.read * static_cast<double>(weight.stored_bytes));
            // A token meets its top-k of the experts, however many are read: the step's own sum knows that.
            if (weight.role != Role::routed_experts && weight.role != Role::norm)
                line.cost.operations = 2.0 * static_cast<double>(tokens) * values_of(weight);
            rest.weight_bytes -= line.cost.weight_bytes;
            rest.operations -= line.cost.operations;
            result.modules.push_back(std::move(line));
        }
        double routed_values = 0;
        for (size_t i = first; i < result.modules.size(); ++i)
            if (result.modules[i].weight.role == Role::routed_experts)
                routed_values += values_of(result.modules[i].weight);
        for (size_t i = first; routed_values > 0 && i < result.modules.size(); ++i)
            if (result.modules[i].weight.role == Role::routed_experts)
                result.modules[i].cost.operations =
                    rest.operations * values_of(result.modules[i].weight) / routed_values;
        if (routed_values > 0) rest.operations = 0;
        if (!step.weights.empty() && step.weights.front().role == Role::matrix)
            result.modules[first].cost += rest;  // its bias and scales
        else if (step.weights.empty() || rest.memory_bytes() != 0)
            result.modules.push_back({.part = part,
                                      .op = step.op,
                                      .module = step.module,
                                      .row = step.row,
                                      .shape = step.shape,
                                      .cost = rest});
        else
            result.modules.back().cost.operations += rest.operations;
    }
    std::map<Part, PartCost> parts;
    for (const ModuleCost& line : result.modules) {
        PartCost& part = parts[line.part];
        part.part = line.part;
        part.cost += line.cost;
        part.rows.insert(line.row.empty() ? line.op : line.op + " " + line.row);
        if (line.weight.n == 0) continue;
        part.values += values_of(line.weight);
        part.weight_bytes_by_format[line.weight.format] += static_cast<double>(line.cost.weight_bytes);
    }
    for (auto& [key, part] : parts) {
        result.total += part.cost;
        if (part.cost.memory_bytes() > 0) result.parts.push_back(std::move(part));
    }
    std::stable_sort(result.parts.begin(), result.parts.end(), [](const PartCost& a, const PartCost& b) {
        return a.cost.memory_bytes() > b.cost.memory_bytes();
    });
    if (result.routed_layers > 0) result.distinct_experts /= static_cast<double>(result.routed_layers);
    return result;
}

}  // namespace nibble::cli
