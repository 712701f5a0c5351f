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

}  // namespace nibble::model
