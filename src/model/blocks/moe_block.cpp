#include "model/blocks/moe_block.h"

namespace nibble::model {

using device::Tensor;

void MoeBlock::forward(ops::OpContext& context, const Step&, const Norm& norm, Tensor x) const {
    ops::ModuleScope scope(context, module);
    device::ArenaScope arena(*context.arena);
    ops::MoeArgs args = mixer;
    args.x = x;
    args.residual = x;
    args.y = x;
    if (!biased_shared && x.dtype() == context.activation && norm.weight.dtype() == x.dtype()) {
        args.norm_weight = norm.weight;
        args.norm_eps = norm.eps;
        ops::moe(context, args);
        return;
    }
    args.x = context.allocate(context.activation, {x.dim(0), x.dim(1)});
    norm.forward(context, x, args.x);
    ops::moe(context, args);
    if (biased_shared) biased_shared->add(context, args.x, x);
}

}  // namespace nibble::model
