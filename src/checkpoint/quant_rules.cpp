#include "checkpoint/quant_rules.h"

#include "base/files.h"
#include "base/in_quotes.h"
#include "checkpoint/module_patterns.h"
#include "numeric/nvfp4.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace nibble::checkpoint {
namespace {

constexpr uint64_t kRulesLimit_bytes = uint64_t{1} << 20;
constexpr std::string_view kAllNvfp4 = "all-nvfp4", kNano = "nvidia-nano", kLightning = "nvidia-lightning";

std::vector<std::string> words_of(std::string_view line) {
    std::vector<std::string> words;
    for (size_t at = 0; at < line.size();) {
        const size_t begin = std::min(line.find_first_not_of(" \t\r", at), line.size());
        at = std::min(line.find_first_of(" \t\r", begin), line.size());
        if (at > begin) words.emplace_back(line.substr(begin, at - begin));
    }
    return words;
}

Error already(const LinearModule& module, std::string_view asked) {
    return error(ErrorCode::model_invalid, "{}: {} is asked for, but tensor {} is {} already", in_quotes(module.name),
                 asked,
                 in_quotes((module.tensors.weight_packed ? module.tensors.weight_packed : module.tensors.weight)->name),
                 name(module.format));
}

bool has_encoding(const LinearModule& module, Encoding encoding) {
    return (encoding == Encoding::nvfp4 && module.format == MatrixFormat::nvfp4) ||
           (encoding == Encoding::fp8 &&
            (module.format == MatrixFormat::fp8_row || module.format == MatrixFormat::fp8_tensor));
}

}  // namespace

std::string_view name(Encoding encoding) {
    return encoding == Encoding::nvfp4 ? "nvfp4" : encoding == Encoding::fp8 ? "fp8" : "keep";
}

Result<Encoding> parse_encoding(std::string_view text, std::string_view where) {
    for (const Encoding encoding : {Encoding::keep, Encoding::nvfp4, Encoding::fp8})
        if (text == name(encoding)) return encoding;
    return error(ErrorCode::usage, "{}: expected nvfp4, fp8 or keep, found {}", where, in_quotes(text));
}

Result<QuantRules> QuantRules::make(const Choices& choices) {
    QuantRules rules;
    rules.choices_ = choices;
    const std::string& scheme = choices.scheme;
    if (scheme.empty() || scheme == kAllNvfp4 || scheme == kNano || scheme == kLightning) return rules;
    auto text = read_whole_file(scheme, kRulesLimit_bytes);
    if (!text && text.error().code == ErrorCode::not_found)
        return error(ErrorCode::usage, "scheme {}: expected {}, {}, {}, or a file of rules", in_quotes(scheme),
                     kAllNvfp4, kNano, kLightning);
    if (!text) return std::move(text).error();
    std::string_view rest = *text;
    for (int number = 1; !rest.empty(); ++number) {
        const size_t end = std::min(rest.find('\n'), rest.size());
        std::string_view line = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
        const std::vector<std::string> words = words_of(line.substr(0, line.find('#')));
        if (words.empty()) continue;
        const std::string where = fmt::format("{}:{}", scheme, number);
        if (words.size() != 2)
            return error(ErrorCode::usage, "{}: expected a pattern and nvfp4, fp8 or keep, found {} words", where,
                         words.size());
        TRY(const Encoding encoding, parse_encoding(words[1], where));
        rules.lines_.push_back({words[0], where, encoding});
    }
    if (rules.lines_.empty()) return error(ErrorCode::usage, "{}: expected rules, found none", scheme);
    return rules;
}

Result<Encoding> QuantRules::of_scheme(const LinearModule& module, const std::vector<LinearModule>& modules,
                                       std::vector<bool>& used) const {
    for (size_t i = 0; i < lines_.size(); ++i) {
        const Line& line = lines_[i];
        if (!wildcard_matches(line.pattern, module.name)) continue;
        if (line.encoding != Encoding::keep && !is_quantizable(module.role)) {
            if (line.pattern == module.name)
                return error(ErrorCode::model_invalid, "{}: {} ({}) is read plain by every engine", line.where,
                             in_quotes(module.name), name(module.role));
            continue;
        }
        used[i] = true;
        if (line.encoding == Encoding::nvfp4 && module.k % numeric::kNvfp4Group != 0 && line.pattern == module.name)
            return error(ErrorCode::model_invalid, "{}: {} has {} columns; NVFP4 needs a multiple of 16", line.where,
                         in_quotes(module.name), module.k);
        return line.encoding;
    }
    if (!lines_.empty() || choices_.scheme.empty()) return Encoding::keep;
    const bool lightning = choices_.scheme == kLightning, nano = choices_.scheme == kNano;
    switch (module.role) {
        case ModuleRole::mlp:
            return Encoding::nvfp4;
        case ModuleRole::head:
            return nano ? Encoding::keep : Encoding::nvfp4;
        case ModuleRole::attention:
            return nano || lightning ? Encoding::keep : Encoding::nvfp4;
        case ModuleRole::mamba: {
            if (lightning) return Encoding::fp8;
            const auto attends = [&](const LinearModule& other) {
                return other.role == ModuleRole::attention && other.layer == module.layer + 1;
            };
            return nano && std::any_of(modules.begin(), modules.end(), attends) ? Encoding::keep : Encoding::nvfp4;
        }
        case ModuleRole::draft:  // published ones leave it as it is
            return nano || lightning ? Encoding::keep : Encoding::nvfp4;
        default:
            return Encoding::keep;
    }
}

Result<QuantRules::Assignment> QuantRules::assign(const std::vector<LinearModule>& modules) const {
    Assignment assignment;
    std::vector<bool> used(lines_.size());
    struct Override {
        ModuleRole role;
        std::string_view flag;
        std::optional<Encoding> encoding;
        const LinearModule* done = nullptr;  // one that is so already
        bool met = false;
    };
    Override overrides[] = {{ModuleRole::head, "--head", choices_.head},
                            {ModuleRole::attention, "--attention", choices_.attention},
                            {ModuleRole::mamba, "--mamba", choices_.mamba}};
    bool any = false;
    for (const LinearModule& module : modules) {
        TRY(Encoding encoding, of_scheme(module, modules, used));
        std::string_view asked_by = "the scheme";
        bool leftovers = false;
        for (Override& its : overrides) {
            if (!its.encoding || its.role != module.role) continue;
            its.met = true;
            leftovers = true;
            encoding = *its.encoding;
            asked_by = its.flag;
            if (has_encoding(module, encoding)) its.done = &module;
        }
        if (encoding != Encoding::keep && !module.is_plain()) {
            if (!leftovers || !has_encoding(module, encoding)) return already(module, name(encoding));
            encoding = Encoding::keep;
        }
        if (encoding == Encoding::nvfp4 && module.k % numeric::kNvfp4Group != 0) {
            if (leftovers)
                return error(ErrorCode::model_invalid, "{}: {} has {} columns; NVFP4 needs a multiple of 16", asked_by,
                             in_quotes(module.name), module.k);
            assignment.remarks.push_back(fmt::format("{} stays {}: {} columns, and NVFP4 needs a multiple of 16",
                                                     module.name, name(module.format), module.k));
            encoding = Encoding::keep;
        }
        any = any || encoding != Encoding::keep;
        assignment.encodings.push_back(encoding);
    }
    for (size_t i = 0; i < lines_.size(); ++i)
        if (!used[i])
            return error(ErrorCode::model_invalid, "{}: the pattern {} matches no linear module", lines_[i].where,
                         in_quotes(lines_[i].pattern));
    for (const Override& its : overrides)
        if (its.encoding && !its.met)
            return error(ErrorCode::model_invalid, "{}: the checkpoint has no {} module", its.flag, name(its.role));
    if (any) return assignment;
    for (const Override& its : overrides)
        if (its.done != nullptr) return already(*its.done, fmt::format("{} {}", its.flag, name(*its.encoding)));
    return error(ErrorCode::model_invalid, "nothing to do: no module would change");
}

}  // namespace nibble::checkpoint
