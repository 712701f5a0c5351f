#include "model/blocks/mlp_block.h"

namespace nibble::model {

using device::Tensor;

void MlpBlock::forward(ops::OpContext& context, const Step&, Tensor x, Tensor residual) const {
    ops::ModuleScope scope(context, module);
    device::ArenaScope arena(*context.arena);
    Tensor up = context.allocate(x.dtype(), {x.dim(0), up_proj.n});
    up_proj.forward(context, x, up);
    Tensor hidden = context.allocate(x.dtype(), {x.dim(0), intermediate});
    ops::activate(context, {.x = up, .y = hidden, .activation = activation});
    down_proj.forward(context, hidden, residual, residual);
}

}  // namespace nibble::model
