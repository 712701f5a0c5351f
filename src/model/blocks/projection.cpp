#include "model/blocks/projection.h"

namespace nibble::model {

void Projection::forward(ops::OpContext& context, device::Tensor x, device::Tensor y, device::Tensor residual) const {
    int64_t begin = 0;
    for (const ops::Weight& weight : parts) {
        const int64_t end = begin + weight.n;
        ops::linear(context, {.x = x,
                              .weight = weight,
                              .bias = bias.empty() ? bias : bias.rows(begin, end),
                              .residual = residual.empty() ? residual : residual.columns(begin, end),
                              .y = y.columns(begin, end)});
        begin = end;
    }
}

void Projection::forward(ops::OpContext& context, const Norm& norm, device::Tensor x, device::Tensor y) const {
    if (parts.size() == 1 && x.dtype() == context.activation && norm.weight.dtype() == x.dtype()) {
        ops::linear(
            context,
            {.x = x, .weight = parts.front(), .bias = bias, .y = y, .norm_weight = norm.weight, .norm_eps = norm.eps});
        return;
    }
    device::ArenaScope arena(*context.arena);
    device::Tensor normed = context.allocate(context.activation, {x.dim(0), x.dim(1)});
    norm.forward(context, x, normed);
    forward(context, normed, y);
}

}  // namespace nibble::model
