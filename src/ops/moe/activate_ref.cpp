// Oracle of op activate.
#include "ops/element.h"
#include "ops/moe/activation.h"
#include "ops/moe/moe.h"

namespace nibble::ops {

void activate_ref(OpContext& context, const ActivateArgs& a) {
    const int64_t width = a.y.dim(1);
    const int64_t up = is_gated(a.activation) ? width : 0;
    for_each(context, a.x.dim(0), [&](int64_t t) {
        for (int64_t i = 0; i < width; ++i)
            put(a.y.row(t), a.y.dtype(), i,
                activated(a.activation, get(a.x.row(t), a.x.dtype(), i), get(a.x.row(t), a.x.dtype(), i + up)));
    });
}

}  // namespace nibble::ops
