#include "checkpoint/linear_modules.h"

#include "base/in_quotes.h"
#include "checkpoint/float_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <tuple>

namespace nibble::checkpoint {
namespace {

using numeric::DType;

std::string_view last_component(std::string_view module) {
    return module.substr(module.rfind('.') + 1);
}

std::string_view parent(std::string_view module) {
    const size_t dot = module.rfind('.');
    return dot == std::string_view::npos ? std::string_view() : module.substr(0, dot);
}

bool is_one_of(std::string_view word, std::initializer_list<std::string_view> words) {
    return std::find(words.begin(), words.end(), word) != words.end();
}

// The first number that stands alone between dots.
int layer_of(std::string_view module) {
    for (size_t begin = 0; begin < module.size();) {
        const size_t end = std::min(module.find('.', begin), module.size());
        int number = 0;
        const auto read = std::from_chars(module.data() + begin, module.data() + end, number);
        if (read.ec == std::errc() && read.ptr == module.data() + end && end > begin) return number;
        begin = end + 1;
    }
    return -1;
}

// Whether a component of the name begins with the word.
bool has_component(std::string_view module, std::string_view word) {
    return module.starts_with(word) || module.find("." + std::string(word)) != std::string_view::npos;
}

ModuleRole role_of(const Checkpoint& checkpoint, std::string_view module) {
    const std::string_view last = last_component(module);
    for (const std::string_view word : {"vision", "visual", "audio", "multi_modal_projector", "embed_vision", "sound"})
        if (has_component(module, word)) return ModuleRole::other_input;
    if (last == "lm_head" || module == "output") return ModuleRole::head;
    if (last.starts_with("embed") || last == "wte") return ModuleRole::embedding;
    if (last == "gate" || has_component(module, "router") || last.ends_with("_gate")) return ModuleRole::router;
    if (last.ends_with("norm") || last.starts_with("norm") || last.starts_with("conv")) return ModuleRole::small;
    if (has_component(module, "mtp")) return ModuleRole::draft;
    const std::string mixer(parent(module));
    if (checkpoint.find(mixer + ".A_log") != nullptr)
        return is_one_of(last, {"in_proj_a", "in_proj_b", "in_proj_ba"}) ? ModuleRole::small : ModuleRole::mamba;
    if (is_one_of(last, {"q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj"})) return ModuleRole::attention;
    return ModuleRole::mlp;
}

// The values of a plain module: rows of a tensor.
LinearModule plain_module(const Checkpoint& checkpoint, std::string name, const TensorEntry& source, int64_t row,
                          int64_t n, int64_t k) {
    LinearModule module;
    module.role = role_of(checkpoint, name);
    module.layer = layer_of(name);
    module.claim = checkpoint.quant_scheme().claim(name);
    module.name = std::move(name);
    module.n = n;
    module.k = k;
    module.format = source.dtype == DType::bf16  ? MatrixFormat::bf16
                    : source.dtype == DType::f16 ? MatrixFormat::f16
                                                 : MatrixFormat::f32;
    module.source = &source;
    module.row = row;
    return module;
}

// All experts of a layer in one tensor [E, n, k], as transformers keeps them: written apart, as every exporter does.
void add_stacked_experts(const Checkpoint& checkpoint, const TensorEntry& tensor, std::vector<LinearModule>& modules) {
    const std::string_view last = last_component(tensor.name);
    const std::string experts(parent(tensor.name));
    const int64_t count = tensor.shape[0], rows = tensor.shape[1], k = tensor.shape[2];
    const bool two = last == "gate_up_proj" && rows % 2 == 0;
    for (int64_t e = 0; e < count; ++e) {
        const auto add = [&](std::string_view part, int64_t row, int64_t n) {
            modules.push_back(
                plain_module(checkpoint, fmt::format("{}.{}.{}", experts, e, part), tensor, e * rows + row, n, k));
        };
        if (two) {
            add("gate_proj", 0, rows / 2);
            add("up_proj", rows / 2, rows / 2);
        } else {
            add(last, 0, rows);
        }
    }
}

Result<LinearModule> quantized_module(const Checkpoint& checkpoint, std::string name) {
    LinearModule module;
    module.role = role_of(checkpoint, name);
    module.layer = layer_of(name);
    module.claim = checkpoint.quant_scheme().claim(name);
    module.tensors = MatrixTensors::collect(name, checkpoint.starting_with(name + "."));
    const TensorEntry* codes = module.tensors.weight_packed ? module.tensors.weight_packed : module.tensors.weight;
    module.n = codes->shape[0];
    module.k = codes->shape[1] * (codes->dtype == DType::f8_e4m3 ? 1 : 2);
    TRY(const auto kind, module.tensors.decide(checkpoint.folder().string(), name, module.n, module.k));
    module.format = kind.format;
    module.name = std::move(name);
    return module;
}

// The head where no tensor is named so: the table of embeddings, used twice.
void add_tied_head(const Checkpoint& checkpoint, std::vector<LinearModule>& modules) {
    const LinearModule* table = nullptr;
    for (const LinearModule& module : modules) {
        if (module.role == ModuleRole::head) return;
        const std::string_view last = last_component(module.name);
        if (module.is_plain() && is_one_of(last, {"embed_tokens", "embeddings", "wte"})) table = &module;
    }
    if (table == nullptr) return;
    LinearModule head = *table;
    head.name = "lm_head";
    head.role = ModuleRole::head;
    head.layer = -1;
    head.claim = checkpoint.quant_scheme().claim(head.name);
    head.tied = true;
    modules.push_back(std::move(head));
}

}  // namespace

std::string_view name(ModuleRole role) {
    switch (role) {
        case ModuleRole::head:
            return "head";
        case ModuleRole::attention:
            return "attention";
        case ModuleRole::mamba:
            return "mamba";
        case ModuleRole::mlp:
            return "mlp";
        case ModuleRole::router:
            return "router";
        case ModuleRole::embedding:
            return "embedding";
        case ModuleRole::draft:
            return "draft";
        case ModuleRole::other_input:
            return "other input";
        case ModuleRole::small:
            return "small";
    }
    return "?";
}

Result<std::vector<LinearModule>> find_linear_modules(const Checkpoint& checkpoint) {
    std::vector<LinearModule> modules;
    for (const TensorEntry& tensor : checkpoint.tensors()) {
        const bool packed = tensor.name.ends_with(".weight_packed");
        if (tensor.name.ends_with(".weight") || packed) {
            if (tensor.shape.size() != 2 || tensor.shape[0] == 0 || tensor.shape[1] == 0) continue;
            std::string module(parent(tensor.name));
            if (!packed && is_float(tensor.dtype)) {
                modules.push_back(
                    plain_module(checkpoint, std::move(module), tensor, 0, tensor.shape[0], tensor.shape[1]));
            } else if (packed || tensor.dtype == DType::u8 || tensor.dtype == DType::f8_e4m3) {
                TRY(LinearModule found, quantized_module(checkpoint, std::move(module)));
                modules.push_back(std::move(found));
            }
        } else if (tensor.shape.size() == 3 && tensor.elements() > 0 && is_float(tensor.dtype) &&
                   parent(tensor.name).ends_with("experts") &&
                   is_one_of(last_component(tensor.name), {"up_proj", "down_proj", "gate_proj", "gate_up_proj"})) {
            add_stacked_experts(checkpoint, tensor, modules);
        }
    }
    add_tied_head(checkpoint, modules);
    std::sort(modules.begin(), modules.end(), [](const LinearModule& a, const LinearModule& b) {
        return std::tuple(static_cast<unsigned>(a.layer), std::string_view(a.name)) <
               std::tuple(static_cast<unsigned>(b.layer), std::string_view(b.name));
    });
    return modules;
}

}  // namespace nibble::checkpoint
