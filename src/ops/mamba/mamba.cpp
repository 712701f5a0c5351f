// The table of op mamba, its cost, and its entry.
#include "ops/mamba/mamba.h"

#include "ops/element.h"
#include "ops/mamba/cpu_rows.h"

namespace nibble::ops {

#ifdef NIBBLE_HAVE_CUDA
bool cuda_mamba_accepts(const MambaArgs&, const device::Device&);  // mamba.cu
int64_t cuda_mamba_scratch_bytes(const MambaArgs&, const device::Device&);
void run_cuda_mamba(OpContext&, const MambaArgs&);
#endif

namespace {

constexpr Row<MambaArgs> kRows[] = {
#ifdef NIBBLE_HAVE_CUDA
    {.name = "cuda",
     .arch = Arch::cuda_any,
     .accepts = cuda_mamba_accepts,
     .scratch_bytes = cuda_mamba_scratch_bytes,
     .run = run_cuda_mamba},
#endif
    {.name = "simd",
     .arch = Arch::cpu,
     .accepts = accepts_mamba_simd,
     .scratch_bytes = scratch_mamba_simd,
     .run = mamba_simd},
    {.name = "ref", .arch = Arch::cpu, .accepts = nullptr, .scratch_bytes = nullptr, .run = mamba_ref},
};

Cost cost(const OpContext&, const MambaArgs& a) {
    const Sequences& s = a.sequences;
    const int64_t channels = a.conv_weight.dim(0), state = a.heads * a.head_dim * a.state_size;
    const int64_t slot_bytes = channels * (a.conv_kernel - 1) * numeric::size_bytes(a.conv_state.dtype()) +
                               state * numeric::size_bytes(a.ssm_state.dtype());
    const bool all_start_here = s.total_context == s.tokens;  // nothing to read: every state starts from zero
    // Convolution: 2 a tap. State: dA·S + (dt·x)·B is 3, S·C is 2. Gate, norm and the rest: about 10 a channel.
    const double per_token = 2.0 * static_cast<double>(channels * a.conv_kernel) + 5.0 * static_cast<double>(state) +
                             10.0 * static_cast<double>(a.heads * a.head_dim);
    return Cost{.weight_bytes = a.conv_weight.bytes() + a.conv_bias.bytes() + a.a_log.bytes() + a.d.bytes() +
                                a.dt_bias.bytes() + a.norm_weight.bytes(),
                .state_read_bytes = all_start_here ? 0 : s.count * slot_bytes,
                .state_written_bytes = s.count * slot_bytes,
                .activation_bytes = a.u.bytes() + a.out.bytes(),
                .operations = static_cast<double>(s.tokens) * per_token};
}

std::string shape(const MambaArgs& a) {
    return fmt::format("T={} B={} nh={} P={} N={} G={}", a.sequences.tokens, a.sequences.count, a.heads, a.head_dim,
                       a.state_size, a.groups);
}

}  // namespace

constinit const Op<MambaArgs> kMamba{
    .name = "mamba", .rows = kRows, .cost = cost, .shape = shape, .format = nullptr, .module = nullptr};

void mamba(OpContext& context, const MambaArgs& a) {
    const int64_t inner = a.heads * a.head_dim, channels = inner + 2 * a.groups * a.state_size;
    CHECK(a.groups > 0 && a.heads % a.groups == 0 && a.conv_kernel >= 2 && a.chunk > 0);
    CHECK(a.u.rank() == 2 && a.u.dim(0) == a.sequences.tokens && a.u.dim(1) == inner + channels + a.heads &&
              is_activation(a.u.dtype()),
          "u is {}", a.u.describe());
    CHECK(a.out.rank() == 2 && a.out.dim(0) == a.sequences.tokens && a.out.dim(1) == inner &&
              a.out.dtype() == a.u.dtype(),
          "out is {}", a.out.describe());
    CHECK(a.conv_weight.rank() == 2 && a.conv_weight.dim(0) == channels && a.conv_weight.dim(1) == a.conv_kernel &&
              (a.conv_bias.empty() || a.conv_bias.elements() == channels),
          "conv_weight is {}, conv_bias is {}", a.conv_weight.describe(), a.conv_bias.describe());
    for (const Tensor* t : {&a.a_log, &a.d, &a.dt_bias})
        CHECK(t->dtype() == DType::f32 && t->elements() == a.heads, "a_log, d or dt_bias is {}", t->describe());
    CHECK(a.norm_weight.dtype() == DType::f32 && a.norm_weight.elements() == inner, "norm_weight is {}",
          a.norm_weight.describe());
    CHECK(a.conv_state.rank() == 3 && a.conv_state.dim(1) == channels && a.conv_state.dim(2) == a.conv_kernel - 1 &&
              is_activation(a.conv_state.dtype()),
          "conv_state is {}", a.conv_state.describe());
    CHECK(a.ssm_state.rank() == 4 && a.ssm_state.dtype() == DType::f32 && a.ssm_state.dim(1) == a.heads &&
              a.ssm_state.dim(2) == a.head_dim && a.ssm_state.dim(3) == a.state_size,
          "ssm_state is {}", a.ssm_state.describe());
    if (a.sequences.tokens == 0) return;
    dispatch(context, kMamba, a);
}

}  // namespace nibble::ops
