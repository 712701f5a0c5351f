// A routed mixture of experts with an optional shared expert, from the normed input to the layer's output; with
// norm_weight, x is first normalised: rms_norm(x, norm_weight, norm_eps) rounded to x's dtype, which a row may do
// itself.
//
//   l = router·x (float32);  s = sigmoid(l) or softmax(l);  c = s + correction_bias (for the choice only)
//   expert groups: when expert_groups > 1 keep the top_groups groups with the best sum of their two best c
//   chosen = the top_k largest c, lower index first on ties;  w = s / (Σ s + 1e-20 when normalize) · routed_scale
//   f_e(x) = down_e·act(up_e·x):  relu2: relu(v)²;  swiglu: silu(gate)·up with up_e's rows [gate (F) | up (F)]
//   y = Σ_{e chosen} w_e·f_e(x) + shared(x) (times sigmoid(shared_gate·x) when given) (+ residual)
// Products exact, sums float32; the activation's result is rounded to x's dtype, f_e(x) is not; experts are added in
// ascending index, the shared expert last; then one rounding to y's dtype, then the residual and one more. Never
// depends on the batch.
#pragma once

#include "ops/op.h"
#include "ops/weight.h"

namespace nibble::ops {

enum class Activation : uint8_t { relu2, swiglu, gelu_tanh_glu };
enum class RouterScore : uint8_t { sigmoid, softmax };

// E matrices of one shape and format, one after the other in memory. `first` describes expert 0; expert e's data is at
// first.data + e * stride_bytes and its scale is scales[e].
struct Experts {
    Weight first;
    int64_t count = 0, stride_bytes = 0;
    Tensor scales;        // [E] f32 on the device
    Tensor row_scales;    // [E, N] f32 when the format has a scale per row (first.row_scale is expert 0's), or empty
    Tensor input_scales;  // [E] f32, or empty

    Weight expert(int64_t e, float scale) const {
        Weight w = first;
        if (w.data != nullptr) w.data += e * stride_bytes;
        w.scale = scale;
        if (!row_scales.empty()) w.row_scale = row_scales.rows(e, e + 1).reshape({row_scales.dim(1)});
        return w;
    }
};

// The layout of a router: a GPU's rows read it with a kernel of its own, row by row.
WeightLayout router_layout(WeightFormat format, int64_t n, int64_t k, const device::Device& device);

struct MoeArgs {
    Tensor x;                                    // [T, H] bf16 or f32
    Weight router;                               // [E, H] f32 or bf16
    Tensor correction_bias;                      // [E] f32, or empty
    Experts up, down;                            // up [E][F or 2F, H], down [E][H, F]
    Weight shared_up, shared_down, shared_gate;  // empty when there is none; gate [1, H]
    Tensor residual;                             // [T, H] as y, or empty
    Tensor y;                                    // [T, H] as x, or f32; may be residual
    int64_t top_k = 0;
    int64_t expert_groups = 1, top_groups = 1;
    RouterScore score = RouterScore::sigmoid;
    bool normalize = true;
    float routed_scale = 1.0f;
    Activation activation = Activation::relu2;
    Tensor expert_tokens;  // [E] i32, or empty: how many tokens chose each expert is added to it
    Tensor norm_weight;    // [H] as x, or empty
    float norm_eps = 1e-6f;
};
void moe(OpContext&, const MoeArgs&);
extern const Op<MoeArgs> kMoe;

// y = act(x), row by row: relu2 [T, F] -> [T, F]; the gated ones [T, 2F] -> [T, F].
struct ActivateArgs {
    Tensor x;
    Tensor y;
    Activation activation = Activation::relu2;
};
void activate(OpContext&, const ActivateArgs&);
extern const Op<ActivateArgs> kActivate;

}  // namespace nibble::ops
