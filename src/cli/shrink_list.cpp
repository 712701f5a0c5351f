#include "cli/shrink_list.h"

#include "numeric/nvfp4.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

namespace nibble::cli {
namespace {

using ops::WeightFormat;
using Role = ops::WeightRead::Role;

constexpr double kLeastShare = 0.005;

std::string upper(WeightFormat format) {
    std::string text(ops::name(format));
    std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::toupper(c); });
    return text;
}

bool is_plain(WeightFormat format) {
    return format == WeightFormat::f32 || format == WeightFormat::bf16;
}

// What quantize treats by one flag.
struct Target {
    const char* flag;
    std::vector<Part> parts;
};
const Target kHead = {"--head", {Part::head}};
const Target kMamba = {"--mamba", {Part::mamba}};
const Target kAttention = {"--attention", {Part::attention}};
const Target kOthers = {"--scheme", {Part::routed_experts, Part::shared_expert, Part::mlp}};

struct Saving {
    double bytes = 0;
    std::map<Part, double> bytes_of;
    std::set<std::string> from;  // formats that change
};

// Nothing when there is nothing to change, or when quantize would refuse: what is quantised already can only stay as it
// is, and one flag means all of its matrices.
Saving saving(const ProgramParts& parts, const Target& target, WeightFormat to, const device::Device& device) {
    Saving sum;
    for (const ModuleCost& line : parts.modules) {
        const ops::WeightRead& weight = line.weight;
        if (weight.n == 0 || weight.role == Role::norm || weight.format == to) continue;
        if (std::find(target.parts.begin(), target.parts.end(), line.part) == target.parts.end()) continue;
        if (!is_plain(weight.format)) return {};
        if (to == WeightFormat::nvfp4 && weight.k % numeric::kNvfp4Group != 0) return {};
        const int64_t packed =
            ops::packed_bytes(to, ops::preferred_layout(to, weight.n, weight.k, device), weight.n, weight.k);
        const double saved = weight.read * static_cast<double>(weight.stored_bytes - packed);
        sum.bytes += saved;
        sum.bytes_of[line.part] += saved;
        sum.from.insert(upper(weight.format));
    }
    return sum;
}

bool has(const ProgramParts& parts, Part wanted) {
    return std::any_of(parts.parts.begin(), parts.parts.end(),
                       [&](const PartCost& part) { return part.part == wanted && part.values > 0; });
}

std::string joined(const std::set<std::string>& names, std::string_view between) {
    return fmt::format("{}", fmt::join(names, between));
}

// One entry for targets that are one command.
Shrink quantized(const ProgramParts& parts, std::string_view what, std::initializer_list<const Target*> targets,
                 const device::Device& device) {
    Shrink shrink{.how = Shrink::How::quantize};
    std::set<std::string> from;
    for (const Target* target : targets) {
        const Saving four = saving(parts, *target, WeightFormat::nvfp4, device);
        if (four.bytes > 0) {
            for (const auto& [part, bytes] : four.bytes_of) shrink.saved.push_back({std::string(name(part)), bytes});
            shrink.flags += fmt::format("{}{} nvfp4", shrink.flags.empty() ? "" : " ", target->flag);
            from.insert(four.from.begin(), four.from.end());
        }
        if (const Saving eight = saving(parts, *target, WeightFormat::fp8, device); eight.bytes > 0) {
            shrink.milder_saved_bytes += eight.bytes;
            shrink.milder_flags += fmt::format("{}{} fp8", shrink.milder_flags.empty() ? "" : " ", target->flag);
        }
    }
    shrink.what = fmt::format("{} {} -> NVFP4", what, joined(from, "/"));
    return shrink;
}

}  // namespace

double Shrink::saved_bytes() const {
    double sum = 0;
    for (const Segment& segment : saved) sum += segment.bytes;
    return sum;
}

double matrix_share(const model::StateShape& state) {
    double matrices = 0;
    for (const model::RecurrentShape& shape : state.recurrent)
        matrices += static_cast<double>(shape.heads * shape.head_dim * shape.state_size) * sizeof(float);
    const auto slot = static_cast<double>(state.slot_bytes());
    return slot > 0 ? matrices / slot : 0;
}

std::vector<Shrink> shrink_list(const ProgramParts& parts, const model::StateShape& state,
                                const device::Device& device) {
    std::vector<Shrink> list = {quantized(parts, "head", {&kHead}, device)};
    const bool mamba = saving(parts, kMamba, WeightFormat::nvfp4, device).bytes > 0;
    const bool attention = saving(parts, kAttention, WeightFormat::nvfp4, device).bytes > 0;
    list.push_back(quantized(parts,
                             mamba && attention ? "mamba and attention"
                             : mamba            ? "mamba"
                                                : "attention",
                             {&kMamba, &kAttention}, device));
    const bool experts = has(parts, Part::routed_experts), dense = has(parts, Part::mlp);
    Shrink others = quantized(parts, !experts ? "MLPs" : dense ? "experts and MLPs" : "experts", {&kOthers}, device);
    others.flags = "--scheme all-nvfp4";  // which would treat the parts above as well
    for (const Target* target : {&kHead, &kAttention, &kMamba})
        if (has(parts, target->parts.front())) others.flags += fmt::format(" {} keep", target->flag);
    others.milder_flags.clear();
    list.push_back(std::move(others));

    const ops::Cost& total = parts.total;
    const auto add = [&](Shrink shrink, std::string_view from, double bytes) {
        shrink.saved.push_back({std::string(from), bytes});
        list.push_back(std::move(shrink));
    };
    add({.what = "recurrent state F32 -> 16 bit"}, kStateSegment,
        static_cast<double>(total.state_read_bytes + total.state_written_bytes) * matrix_share(state) / 2);
    double router = 0;
    for (const ModuleCost& line : parts.modules)
        if (line.weight.role == Role::router && line.weight.format == WeightFormat::f32)
            router += static_cast<double>(line.cost.weight_bytes) / 2;
    add({.what = "router F32 -> BF16"}, name(Part::router), router);
    if (const int64_t size = numeric::size_bytes(state.kv_dtype); size > 1)
        add({.how = Shrink::How::serve,
             .what = fmt::format("keys and values {} -> FP8", size == 2 ? "BF16" : "F32"),
             .flags = "--kv-cache-dtype fp8"},
            kCacheSegment,
            static_cast<double>(total.kv_read_bytes + total.kv_written_bytes) *
                (1.0 - 1.0 / static_cast<double>(size)));

    const double least = kLeastShare * static_cast<double>(total.memory_bytes());
    std::erase_if(list,
                  [&](const Shrink& shrink) { return !(shrink.saved_bytes() >= least && shrink.saved_bytes() > 0); });
    std::stable_sort(list.begin(), list.end(),
                     [](const Shrink& a, const Shrink& b) { return a.saved_bytes() > b.saved_bytes(); });
    return list;
}

std::string for_shell(std::string_view word) {
    const bool plain = !word.empty() && word.find_first_not_of(
                                            "abcdefghijklmnopqrstuvwxyz"
                                            "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                            "0123456789_./@+:,=-") == std::string_view::npos;
    if (plain) return std::string(word);
    std::string quoted = "'";
    for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return quoted + "'";
}

std::string flags_at_once(const std::vector<Shrink>& shrinks) {
    std::string flags;
    int count = 0;
    bool scheme = false;
    for (const Shrink& shrink : shrinks) {
        if (shrink.how != Shrink::How::quantize) continue;
        ++count;
        scheme = scheme || shrink.flags.starts_with(kOthers.flag);
        flags += (flags.empty() ? "" : " ") + shrink.flags;
    }
    return count < 2 ? "" : scheme ? "--scheme all-nvfp4" : flags;
}

std::vector<std::string> commands_of(const std::vector<Shrink>& shrinks, std::string_view model) {
    std::vector<std::string> commands;
    std::string in = for_shell(model);
    int written = 0;
    for (const Shrink& shrink : shrinks) {
        std::string& command = commands.emplace_back();
        if (shrink.how == Shrink::How::serve) command = fmt::format("nibble serve {} {}", in, shrink.flags);
        if (shrink.how != Shrink::How::quantize) continue;
        const std::string out = fmt::format("OUT{}", ++written);
        command = fmt::format("nibble quantize {} {} {}", in, out, shrink.flags);
        in = out;
    }
    return commands;
}

}  // namespace nibble::cli
