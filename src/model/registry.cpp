// The families that nibble runs, and how a checkpoint chooses one.
#include "base/check.h"
#include "base/in_quotes.h"
#include "model/llama.h"
#include "model/model.h"
#include "model/nemotron_h.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

namespace nibble::model {
namespace {

struct Family {
    std::string_view model_type, architecture;
};
constexpr std::array kFamilies = {
    Family{"nemotron_h", "NemotronHForCausalLM"},
    Family{"llama", "LlamaForCausalLM"},
    Family{"mistral", "MistralForCausalLM"},
    Family{"qwen2", "Qwen2ForCausalLM"},
};

}  // namespace

std::vector<std::string> families() {
    std::vector<std::string> names;
    for (const Family& family : kFamilies) names.emplace_back(family.model_type);
    return names;
}

void Model::forward_draft(ops::OpContext&, const Batch&, const State&, device::Tensor, device::Tensor,
                          device::Tensor) const {
    CHECK(false, "{} was loaded without a draft block", spec_.name);
}

Result<std::unique_ptr<Model>> load(std::shared_ptr<const checkpoint::Checkpoint> checkpoint,
                                    const device::Device& device, const LoadOptions& options) {
    const checkpoint::Config& config = checkpoint->config();
    TRY(const auto model_type, config.optional_string("model_type"));
    TRY(const std::vector<std::string> architectures, config.string_list("architectures"));
    const auto chosen = std::find_if(kFamilies.begin(), kFamilies.end(), [&](const Family& family) {
        if (model_type) return *model_type == family.model_type;
        return std::find(architectures.begin(), architectures.end(), family.architecture) != architectures.end();
    });
    if (chosen == kFamilies.end())
        return error(ErrorCode::unsupported,
                     "{}: model_type {}, architectures [{}]: nibble does not know this family yet; it runs {}",
                     config.file(), model_type ? in_quotes(*model_type) : "absent", fmt::join(architectures, ", "),
                     fmt::join(families(), ", "));
    if (options.source == LoadOptions::Source::checkpoint && !checkpoint->has_tensor_data())
        return error(ErrorCode::not_found, "{}: the weights are not there", checkpoint->folder().string());
    if (options.draft && chosen->model_type != "nemotron_h")
        return error(ErrorCode::unsupported, "{}: model_type {}: the family has no draft block (mtp)", config.file(),
                     chosen->model_type);
    if (chosen->model_type == "nemotron_h") return NemotronH::load(std::move(checkpoint), device, options);
    return Llama::load(std::move(checkpoint), device, options, std::string(chosen->model_type));
}

}  // namespace nibble::model
