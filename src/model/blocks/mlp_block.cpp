#include "model/blocks/mlp_block.h"

namespace nibble::model {

using device::Tensor;

void MlpBlock::forward(ops::OpContext& context, const Step&, const Norm& norm, Tensor x) const {
    ops::ModuleScope scope(context, module);
    device::ArenaScope arena(*context.arena);
    Tensor up = context.allocate(context.activation, {x.dim(0), up_proj.n});
    up_proj.forward(context, norm, x, up);
    finish(context, up, x);
}

void MlpBlock::add(ops::OpContext& context, Tensor normed, Tensor x) const {
    ops::ModuleScope scope(context, module);
    device::ArenaScope arena(*context.arena);
    Tensor up = context.allocate(context.activation, {x.dim(0), up_proj.n});
    up_proj.forward(context, normed, up);
    finish(context, up, x);
}

void MlpBlock::finish(ops::OpContext& context, Tensor up, Tensor x) const {
    Tensor hidden = context.allocate(context.activation, {x.dim(0), intermediate});
    ops::activate(context, {.x = up, .y = hidden, .activation = activation});
    down_proj.forward(context, hidden, x, x);
}

}  // namespace nibble::model
