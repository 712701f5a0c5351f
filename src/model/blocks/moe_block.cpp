#include "model/blocks/moe_block.h"

namespace nibble::model {

using device::Tensor;

void MoeBlock::forward(ops::OpContext& context, const Step&, const Norm& norm, Tensor x) const {
    ops::ModuleScope scope(context, module);
    device::ArenaScope arena(*context.arena);
    Tensor normed = context.allocate(x.dtype(), {x.dim(0), x.dim(1)});
    norm.forward(context, x, normed);
    ops::MoeArgs args = mixer;
    args.x = normed;
    args.residual = x;
    args.y = x;
    ops::moe(context, args);
    if (biased_shared) biased_shared->add(context, normed, x);
}

}  // namespace nibble::model
