// What the families share when they read a checkpoint: the spec's common part, the two ends, attention's projections.
#pragma once

#include "model/blocks/attention_block.h"
#include "model/blocks/ends.h"
#include "model/loader.h"
#include "model/model.h"

#include <string>
#include <string_view>

namespace nibble::model {

// Name, eos ids, tensor count, and the state's dtypes. Errors: model_invalid, usage (a dtype that cannot be).
Result<Spec> read_spec(const checkpoint::Checkpoint& checkpoint, const LoadOptions& options);

struct Ends {
    std::string_view embedding, head, norm;  // module names
    int64_t vocab_size = 0, hidden_size = 0;
    bool tied = false;  // the head is the embedding, unless the checkpoint has both (as transformers decides)
    float eps = 0.0f;
};
Result<void> declare_ends(Loader& loader, const Ends& ends, Embedding& embedding, Head& head);

// prefix.{q,k,v,o}_proj and the scales of an FP8 cache; the block's sizes are set.
Result<void> declare_qkvo(Loader& loader, const std::string& prefix, int64_t hidden, Bias qkv_bias, Bias o_bias,
                          AttentionBlock& block);

}  // namespace nibble::model
