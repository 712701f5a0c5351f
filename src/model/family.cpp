#include "model/family.h"

namespace nibble::model {
namespace {

using device::DType;

// org/name when the folder is a snapshot in the Hugging Face cache (models--org--name/snapshots/revision).
std::string model_name(const Folder& folder) {
    for (const auto& part : folder.path()) {
        std::string name = part.string();
        if (!name.starts_with("models--")) continue;
        name = name.substr(8);
        if (const size_t dashes = name.find("--"); dashes != std::string::npos) name.replace(dashes, 2, "/");
        return name;
    }
    return folder.name();
}

Result<std::vector<int32_t>> eos_ids(const checkpoint::Checkpoint& checkpoint) {
    for (const checkpoint::Config* config : {checkpoint.generation_config(), &checkpoint.config()}) {
        if (config == nullptr || !config->has("eos_token_id")) continue;
        TRY(const std::vector<int64_t> given, config->int_or_list("eos_token_id"));
        std::vector<int32_t> ids;
        for (int64_t id : given) {
            if (id < 0 || id > INT32_MAX) return config->wrong("eos_token_id", "token ids");
            ids.push_back(static_cast<int32_t>(id));
        }
        return ids;
    }
    return std::vector<int32_t>();
}

}  // namespace

Result<Spec> read_spec(const checkpoint::Checkpoint& checkpoint, const LoadOptions& options) {
    if (options.activation != DType::bf16 && options.activation != DType::f32)
        return error(ErrorCode::usage, "activations in {}; expected bf16 or f32", numeric::name(options.activation));
    if (options.kv_dtype != DType::bf16 && options.kv_dtype != DType::f32 && options.kv_dtype != DType::f8_e4m3)
        return error(ErrorCode::usage, "a cache of keys and values in {}; expected bf16, f32 or f8_e4m3",
                     numeric::name(options.kv_dtype));
    Spec spec;
    spec.name = model_name(checkpoint.folder());
    TRY(spec.eos_ids, eos_ids(checkpoint));
    spec.tensor_count = static_cast<int64_t>(checkpoint.tensors().size());
    spec.activation = options.activation;
    spec.state.kv_dtype = options.kv_dtype;
    spec.state.conv_dtype = options.activation;  // the convolution's inputs are kept as they came
    return spec;
}

Result<void> declare_ends(Loader& loader, const Ends& ends, Embedding& embedding, Head& head) {
    const bool own_head = loader.has_matrix(ends.head, !ends.tied);
    const bool own_table = loader.has_matrix(ends.embedding, true);
    const std::string_view table = ends.tied && !own_table && own_head ? ends.head : ends.embedding;
    const bool one = ends.tied && (!own_head || table == ends.head);
    embedding.module = ends.embedding;
    head.module = ends.head;
    head.lm_head.n = ends.vocab_size;
    ops::Weight& weight = head.lm_head.parts.emplace_back();
    TRY_VOID(loader.table(table, ends.vocab_size, ends.hidden_size, embedding.table, one ? &weight : nullptr));
    if (!one) TRY_VOID(loader.matrix(ends.head, ends.vocab_size, ends.hidden_size, weight));
    head.norm.module = ends.norm;
    head.norm.eps = ends.eps;
    return loader.vector(
        {.name = fmt::format("{}.weight", ends.norm), .shape = {ends.hidden_size}, .of_activations = true},
        head.norm.weight);
}

Result<void> declare_qkvo(Loader& loader, const std::string& prefix, int64_t hidden, Bias qkv_bias, Bias o_bias,
                          AttentionBlock& block) {
    const int64_t q_width = block.heads * block.head_dim, kv_width = block.kv_heads * block.head_dim;
    TRY_VOID(loader.projection(prefix, {{"q_proj", q_width}, {"k_proj", kv_width}, {"v_proj", kv_width}}, hidden,
                               qkv_bias, block.qkv_proj));
    TRY_VOID(loader.projection(prefix, {{"o_proj", hidden}}, q_width, o_bias, block.o_proj));
    block.module = parent(block.o_proj.parts.front().name);

    // modelopt writes k_proj.k_scale, compressed-tensors k_scale; an older kv_scale holds for both.
    TRY(const float both, loader.scalar(prefix + ".kv_scale", 1.0f));
    for (const auto& [name, scale] : {std::pair{"k", &block.k_scale}, std::pair{"v", &block.v_scale}}) {
        *scale = both;
        for (const std::string& spelling :
             {fmt::format("{}.{}_proj.{}_scale", prefix, name, name), fmt::format("{}.{}_scale", prefix, name)}) {
            TRY(*scale, loader.scalar(spelling, *scale));
        }
        if (!(*scale > 0.0f) || *scale > 1e30f)
            return error(ErrorCode::model_invalid, "{}: the cache scale {}_scale is {}; expected a number above 0",
                         prefix, name, *scale);
    }
    return {};
}

}  // namespace nibble::model
