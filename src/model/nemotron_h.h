// NemotronH: the nemotron_h family (Nemotron-H, Nemotron 3 Nano, Nemotron 3.5 Lightning).
//
// A layer is one mixer behind one norm: Mamba-2, a routed mixture of experts, attention without positions, or a plain
// MLP, in any order. Source: transformers' nemotron_h; docs/models.md says where nibble differs.
#pragma once

#include "model/blocks/attention_block.h"
#include "model/blocks/ends.h"
#include "model/blocks/mamba_block.h"
#include "model/blocks/mlp_block.h"
#include "model/blocks/moe_block.h"
#include "model/loader.h"
#include "model/model.h"
#include "model/nemotron_h_config.h"

#include <memory>
#include <variant>
#include <vector>

namespace nibble::model {

class NemotronH final : public Model {
public:
    static Result<std::unique_ptr<Model>> load(std::shared_ptr<const checkpoint::Checkpoint> checkpoint,
                                               const device::Device& device, const LoadOptions& options);

    void forward(ops::OpContext& context, const Batch& batch, const State& state, device::Tensor logits,
                 device::Tensor hidden) const override;
    void forward_draft(ops::OpContext& context, const Batch& batch, const State& state, device::Tensor hidden,
                       device::Tensor logits, device::Tensor next_hidden) const override;

private:
    struct Layer {
        Norm norm;
        std::variant<MambaBlock, MoeBlock, AttentionBlock, MlpBlock> mixer;
    };

    // mtp.layers.*: layers as the model's own between two ends of their own; embeddings and head are the model's.
    struct Draft {
        Norm enorm, hnorm;   // of the token's embedding, and of the hidden state before it
        Projection eh_proj;  // [H, 2H]
        std::vector<Layer> layers;
        Norm final_layernorm;
    };

    Result<void> declare(Loader& loader, const NemotronHConfig& config);
    Result<void> declare_layer(Loader&, const std::string& prefix, LayerKind, const NemotronHConfig&, Layer&);
    Result<void> declare_draft(Loader& loader, const NemotronHConfig& config);
    static Result<void> declare_norm(Loader&, const std::string& module, const NemotronHConfig&, Norm&);
    static Result<void> declare_mamba(Loader&, const std::string& prefix, const NemotronHConfig&, MambaBlock&);
    static Result<void> declare_moe(Loader&, const std::string& prefix, const NemotronHConfig&, MoeBlock&);
    static Result<void> declare_attention(Loader&, const std::string& prefix, const NemotronHConfig&, AttentionBlock&);
    static Result<void> declare_mlp(Loader&, const std::string& prefix, int64_t hidden, int64_t intermediate, Bias,
                                    MlpBlock&);

    Embedding embeddings_;
    std::vector<Layer> layers_;
    Head head_;
    Draft draft_;  // without layers unless LoadOptions::draft
    Storage storage_;
};

}  // namespace nibble::model
