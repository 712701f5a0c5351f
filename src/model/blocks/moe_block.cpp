#include "model/blocks/moe_block.h"

namespace nibble::model {

void MoeBlock::forward(ops::OpContext& context, const Step& step, device::Tensor x, device::Tensor residual) const {
    ops::ModuleScope scope(context, module);
    ops::MoeArgs args = mixer;
    args.x = x;
    args.residual = residual;
    args.y = residual;
    ops::moe(context, args);
    if (biased_shared) biased_shared->forward(context, step, x, residual);
}

}  // namespace nibble::model
