#include "model/blocks/ends.h"

namespace nibble::model {

device::Tensor Embedding::forward(ops::OpContext& context, const Step& step) const {
    ops::ModuleScope scope(context, module);
    device::Tensor x = context.allocate(context.residual(), {step.batch.tokens.elements(), table.dim(1)});
    ops::embed(context, {.tokens = step.batch.tokens, .table = table, .y = x});
    return x;
}

void Head::forward(ops::OpContext& context, const Step& step, const Norm& its, device::Tensor x, device::Tensor logits,
                   device::Tensor hidden) const {
    if (!hidden.empty()) its.forward(context, x, hidden);
    const device::Tensor& rows = step.batch.logit_rows;
    if (rows.elements() == 0) return;
    ops::ModuleScope scope(context, module);
    device::ArenaScope arena(*context.arena);
    device::Tensor last = context.allocate(x.dtype(), {rows.elements(), x.dim(1)});
    ops::gather_rows(context, {.x = x, .rows = rows, .y = last});
    lm_head.forward(context, its, last, logits);
}

}  // namespace nibble::model
