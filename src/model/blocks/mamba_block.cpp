#include "model/blocks/mamba_block.h"

namespace nibble::model {

using device::Tensor;

void MambaBlock::forward(ops::OpContext& context, const Step& step, const Norm& norm, Tensor x) const {
    ops::ModuleScope scope(context, module);
    device::ArenaScope arena(*context.arena);
    const int64_t tokens = x.dim(0);
    Tensor u = context.allocate(context.activation, {tokens, in_proj.n});
    in_proj.forward(context, norm, x, u);

    ops::MambaArgs args = mixer;
    args.u = u;
    args.out = context.allocate(context.activation, {tokens, mixer.heads * mixer.head_dim});
    args.conv_state = step.state.conv_state(state);
    args.ssm_state = step.state.ssm_state(state);
    args.sequences = step.batch.sequences;
    ops::mamba(context, args);
    out_proj.forward(context, args.out, x, x);
}

}  // namespace nibble::model
