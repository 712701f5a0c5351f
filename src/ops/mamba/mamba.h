// The Mamba-2 mixer between its two projections: causal depthwise convolution, selective state update, gated norm.
//
// u[t] = [z (I) | x (I) | B (G·N) | C (G·N) | dt (nh)], I = nh·P. For each sequence in order of its rows:
//   a = silu(conv1d([x|B|C]) + conv_bias)                     (kernel Kc; conv_weight[c][Kc-1] is the newest tap)
//   dt = clamp(softplus(dt + dt_bias), dt_min, dt_max);  dA = exp(-exp(A_log) · dt)
//   S[h][p][n] = dA·S[h][p][n] + dt·x[h][p]·B[g][n];  y[h][p] = Σ_n S[h][p][n]·C[g][n] + D[h]·x[h][p],  g = h / (nh/G)
//   v = y·silu(z);  out[c] = v[c] · (mean over v's group of I/G channels of v² + eps)^-1/2 · norm_weight[c]
// All in float32; the convolution's output, y and v·r are each rounded to u's dtype as the reference does. The state is
// read from and written to `slot`; position 0 starts from zero. Source: state-spaces/mamba, transformers' nemotron_h.
// The value for a row depends on its sequence alone: chunks are cut at absolute positions, multiples of chunk.
#pragma once

#include "ops/op.h"
#include "ops/sequences.h"

#include <limits>

namespace nibble::ops {

struct MambaArgs {
    Tensor u;                  // [T, 2I + 2GN + nh] bf16 or f32
    Tensor conv_weight;        // [C, Kc] f32, C = I + 2GN
    Tensor conv_bias;          // [C] f32, or empty
    Tensor a_log, d, dt_bias;  // [nh] f32
    Tensor norm_weight;        // [I] f32
    Tensor conv_state;         // [slots, C, Kc - 1] bf16 or f32: the last inputs, oldest first
    Tensor ssm_state;          // [slots, nh, P, N] f32
    Tensor out;                // [T, I] as u
    Sequences sequences;
    int64_t heads = 0, head_dim = 0, groups = 0, state_size = 0, conv_kernel = 0;
    float eps = 1e-5f;
    float dt_min = 0.0f, dt_max = std::numeric_limits<float>::infinity();
    int64_t chunk = 128;
};
void mamba(OpContext&, const MambaArgs&);
extern const Op<MambaArgs> kMamba;

}  // namespace nibble::ops
