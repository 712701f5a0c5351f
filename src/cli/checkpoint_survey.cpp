#include "cli/checkpoint_survey.h"

#include "base/bytes.h"
#include "base/in_quotes.h"
#include "checkpoint/matrix_tensors.h"
#include "checkpoint/shard_index.h"
#include "checkpoint/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

namespace nibble::cli {
namespace {

using checkpoint::Checkpoint;
using checkpoint::Claim;
using checkpoint::ClaimedFormat;
using checkpoint::MatrixTensors;
using checkpoint::TensorEntry;
using numeric::DType;

// A matrix's rows and columns by the shape of its codes; nothing for what is no matrix.
std::optional<std::pair<int64_t, int64_t>> matrix_shape(const MatrixTensors& tensors) {
    const TensorEntry* codes = tensors.weight_packed != nullptr ? tensors.weight_packed : tensors.weight;
    if (codes == nullptr || codes->shape.size() != 2 || codes->shape[0] <= 0 || codes->shape[1] <= 0)
        return std::nullopt;
    const bool two_in_a_byte = codes->dtype == DType::u8 || codes->dtype == DType::e2m1x2;
    const auto columns = checked_multiply<int64_t>(codes->shape[1], two_in_a_byte ? 2 : 1);
    if (!columns) return std::nullopt;
    return std::pair(codes->shape[0], *columns);
}

bool is_quantised(ClaimedFormat format) {
    return format != ClaimedFormat::none && format != ClaimedFormat::unquantized;
}

// Complaints that differ in the numbers of layers and experts alone are told once.
class Complaints {
public:
    void add(std::string_view module, std::string_view kind, Finding::Severity severity, Error error) {
        auto [found, is_first] = group_of_.try_emplace(alike(module) + "\n" + std::string(kind), groups_.size());
        if (is_first) groups_.push_back({0, {severity, error.code, std::move(error.message)}});
        ++groups_[found->second].more;
    }
    void append_to(std::vector<Finding>& findings) && {
        for (Group& group : groups_) {
            if (group.more > 1) group.first.message += fmt::format(", and {} more like it", group.more - 1);
            findings.push_back(std::move(group.first));
        }
    }

private:
    struct Group {
        size_t more;
        Finding first;
    };
    std::vector<Group> groups_;
    std::map<std::string, size_t, std::less<>> group_of_;
};

void survey_matrix(CheckpointSurvey& survey, checkpoint::Weights& weights, const std::string& name,
                   SurveyedModule& module, Complaints& complaints) {
    const auto tensors = MatrixTensors::collect(name, survey.checkpoint->starting_with(name + "."));
    const auto shape = matrix_shape(tensors);
    if (!shape && tensors.foreign == nullptr) return;
    const std::string folder = survey.checkpoint->folder().string();
    const auto [n, k] = shape.value_or(std::pair<int64_t, int64_t>(1, 1));
    module.is_matrix = true;
    ++survey.matrices;
    auto kind = tensors.decide(folder, name, n, k);
    if (!kind) {
        complaints.add(name, "format", Finding::Severity::error, std::move(kind).error());
        return;
    }
    module.stored = checkpoint::name(kind->format);
    const Claim claim = survey.checkpoint->quant_scheme().claim(name);
    auto matrix = weights.matrix(name, n, k);
    if (!matrix) {
        complaints.add(name, "claim", Finding::Severity::error, std::move(matrix).error());
        return;
    }
    const bool is_plain = kind->scale == nullptr && kind->block_scales == nullptr;
    if (!claim.named && is_plain && is_quantised(claim.format)) {
        complaints.add(
            name, "fallback", Finding::Severity::warning,
            error(ErrorCode::model_invalid, "{}: {} is {} by its tensors ({}), while {} says {} of all linear modules",
                  folder, in_quotes(name), module.stored, in_quotes(kind->codes->name), claim.because,
                  checkpoint::name(claim.format)));
        return;
    }
    ++survey.matrices_as_claimed;
}

void survey_tensors(CheckpointSurvey& survey) {
    const Checkpoint& checkpoint = *survey.checkpoint;
    survey.basis = CheckpointSurvey::Basis::tensors;
    survey.tensors = checkpoint.tensors().size();
    survey.bytes = checkpoint.tensor_bytes();
    survey.files = checkpoint.files().size();
    for (const TensorEntry& tensor : checkpoint.tensors()) {
        const size_t dot = tensor.name.rfind('.');
        SurveyedModule& module = survey.modules[tensor.name.substr(0, dot == std::string::npos ? 0 : dot)];
        module.bytes += tensor.bytes;
        ++module.tensors;
        const std::string_view dtype = numeric::safetensors_name(tensor.dtype);
        if (module.stored.empty())
            module.stored = dtype;
        else if (module.stored != dtype)
            module.stored = "several";
    }
    checkpoint::Weights weights(survey.checkpoint);
    Complaints complaints;
    for (auto& [name, module] : survey.modules) survey_matrix(survey, weights, name, module, complaints);
    std::move(complaints).append_to(survey.findings);
}

// Names alone: an index without its files. Its metadata may say how many bytes they have.
void survey_index(CheckpointSurvey& survey, const checkpoint::ShardIndex& index) {
    survey.basis = CheckpointSurvey::Basis::index;
    survey.tensors = index.tensors.size();
    survey.files = index.files.size();
    if (const auto json = checkpoint::Config::load(survey.checkpoint->folder(), index.from))
        if (const auto size = json->optional_int("metadata.total_size", 0, INT64_MAX); size && *size)
            survey.bytes = static_cast<uint64_t>(**size);
    for (const checkpoint::ShardIndex::Tensor& tensor : index.tensors)
        ++survey.modules[tensor.name.substr(0, std::min(tensor.name.rfind('.'), tensor.name.size()))].tensors;
}

void add_claims(CheckpointSurvey& survey) {
    const checkpoint::QuantScheme& scheme = survey.checkpoint->quant_scheme();
    for (auto& [name, module] : survey.modules) {
        const Claim claim = scheme.claim(name);
        if (claim.format == ClaimedFormat::none) continue;
        module.claimed = checkpoint::name(claim.format);
        module.because = claim.because;
    }
}

// What has to be believed of the folder where tensors do not tell it.
void add_assumptions(CheckpointSurvey& survey) {
    if (survey.basis == CheckpointSurvey::Basis::tensors) return;
    const checkpoint::QuantScheme& scheme = survey.checkpoint->quant_scheme();
    const std::string which = scheme.dialect() == checkpoint::Dialect::none
                                  ? "matrices are taken as BF16, for no config speaks of another format"
                                  : "formats are those that the config claims";
    survey.assumptions.push_back(fmt::format("{}: {}",
                                             survey.basis == CheckpointSurvey::Basis::index
                                                 ? "the files that the index names are not here"
                                                 : "no tensors here",
                                             which));
}

}  // namespace

std::string alike(std::string_view module) {
    std::string name;
    while (true) {
        const size_t end = module.find('.');
        const std::string_view part = module.substr(0, end);
        const bool is_number =
            !part.empty() && std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
        name += is_number ? "*" : part;
        if (end == std::string_view::npos) return name;
        name += '.';
        module.remove_prefix(end + 1);
    }
}

Result<CheckpointSurvey> survey_checkpoint(const Folder& folder) {
    CheckpointSurvey survey;
    // As it is; without its claims; by its configs alone: the first that opens.
    for (const checkpoint::OpenOptions& options :
         {checkpoint::OpenOptions{.headers_only = true}, checkpoint::OpenOptions{.headers_only = true, .claims = false},
          checkpoint::OpenOptions{.headers_only = true, .tensors = false}}) {
        auto opened = Checkpoint::open(folder, options);
        if (opened) {
            survey.checkpoint = *std::move(opened);
            if (!options.claims)
                survey.assumptions.push_back("the config's claims are left aside: tensors tell the formats");
            if (!options.tensors) survey.assumptions.push_back("the tensors are left aside");
            break;
        }
        Error failure = std::move(opened).error();
        if (failure.code == ErrorCode::not_found) return failure;
        const bool told = std::any_of(survey.findings.begin(), survey.findings.end(),
                                      [&](const Finding& finding) { return finding.message == failure.message; });
        if (!told) survey.findings.push_back({Finding::Severity::error, failure.code, std::move(failure.message)});
    }
    if (!survey.checkpoint) return survey;
    if (survey.checkpoint->has_tensor_headers()) {
        survey_tensors(survey);
    } else if (const auto index = checkpoint::find_shards(folder, true); index && !index->tensors.empty()) {
        survey_index(survey, *index);
    }
    add_claims(survey);
    add_assumptions(survey);
    return survey;
}

}  // namespace nibble::cli
