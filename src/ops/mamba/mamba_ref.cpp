// Oracle of op mamba: the recurrence, token by token. The state is rounded to float32 after every token, so the result
// does not depend on how a sequence is cut into steps.
#include "ops/element.h"
#include "ops/mamba/mamba.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace nibble::ops {
namespace {

double silu(double v) {
    return v / (1.0 + std::exp(-v));
}
double softplus(double v) {
    return v > 20.0 ? v : std::log1p(std::exp(v));
}

// One token: u -> out, updating the sequence's two states.
void token(const MambaArgs& a, const std::byte* u, std::byte* conv_state, float* ssm_state, std::byte* out,
           std::vector<float>& conv, std::vector<double>& gated) {
    const int64_t inner = a.heads * a.head_dim, bc = a.groups * a.state_size, channels = inner + 2 * bc;
    const int64_t kernel = a.conv_kernel, group_width = inner / a.groups;
    const DType dtype = a.u.dtype(), kept = a.conv_state.dtype();

    conv.resize(static_cast<size_t>(channels));
    for (int64_t c = 0; c < channels; ++c) {
        const float* w = a.conv_weight.row_as<float>(c);
        const float newest = get(u, dtype, inner + c);
        double sum = a.conv_bias.empty() ? 0.0 : a.conv_bias.as<float>()[c];
        for (int64_t j = 0; j < kernel - 1; ++j) sum += double(w[j]) * get(conv_state, kept, c * (kernel - 1) + j);
        sum += double(w[kernel - 1]) * newest;
        conv[c] = rounded(dtype, static_cast<float>(silu(sum)));
        for (int64_t j = 0; j + 1 < kernel - 1; ++j)
            put(conv_state, kept, c * (kernel - 1) + j, get(conv_state, kept, c * (kernel - 1) + j + 1));
        put(conv_state, kept, c * (kernel - 1) + kernel - 2, newest);
    }

    gated.resize(static_cast<size_t>(inner));
    for (int64_t h = 0; h < a.heads; ++h) {
        const int64_t g = h / (a.heads / a.groups);
        const float* b_row = conv.data() + inner + g * a.state_size;
        const float* c_row = b_row + bc;
        const double raw = double(get(u, dtype, inner + channels + h)) + a.dt_bias.as<float>()[h];
        const double dt = std::clamp(softplus(raw), double(a.dt_min), double(a.dt_max));
        const double decay = std::exp(-std::exp(double(a.a_log.as<float>()[h])) * dt);
        for (int64_t p = 0; p < a.head_dim; ++p) {
            const int64_t c = h * a.head_dim + p;
            const double x = conv[c];
            float* s = ssm_state + c * a.state_size;
            double y = 0;
            for (int64_t n = 0; n < a.state_size; ++n) {
                s[n] = static_cast<float>(decay * s[n] + dt * x * b_row[n]);
                y += double(s[n]) * c_row[n];
            }
            const float yd = rounded(dtype, static_cast<float>(y + a.d.as<float>()[h] * x));
            gated[c] = yd * silu(get(u, dtype, c));
        }
    }

    for (int64_t g = 0; g < a.groups; ++g) {
        double square = 0;
        for (int64_t c = g * group_width; c < (g + 1) * group_width; ++c) square += gated[c] * gated[c];
        const double r = 1.0 / std::sqrt(square / static_cast<double>(group_width) + a.eps);
        for (int64_t c = g * group_width; c < (g + 1) * group_width; ++c)
            put(out, dtype, c, rounded(dtype, static_cast<float>(gated[c] * r)) * a.norm_weight.as<float>()[c]);
    }
}

}  // namespace

void mamba_ref(OpContext& context, const MambaArgs& a) {
    const Sequences& s = a.sequences;
    for_each(context, s.count, [&](int64_t b) {
        const int32_t begin = s.row_start.as<int32_t>()[b], end = s.row_start.as<int32_t>()[b + 1];
        const int32_t slot = s.slot.as<int32_t>()[b];
        CHECK(slot >= 0 && slot < a.ssm_state.dim(0), "slot {} of {}", slot, a.ssm_state.dim(0));
        std::byte* conv_state = a.conv_state.row(slot);
        float* ssm_state = a.ssm_state.row_as<float>(slot);
        if (begin < end && s.context_length.as<int32_t>()[b] == end - begin) {
            std::fill_n(conv_state, a.conv_state.row_stride() * numeric::size_bytes(a.conv_state.dtype()),
                        std::byte{0});
            std::fill_n(ssm_state, a.ssm_state.row_stride(), 0.0f);
        }
        std::vector<float> conv;
        std::vector<double> gated;
        for (int32_t t = begin; t < end; ++t) token(a, a.u.row(t), conv_state, ssm_state, a.out.row(t), conv, gated);
    });
}

}  // namespace nibble::ops
