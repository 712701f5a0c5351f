// The table of op linear, its cost, and its entry.
#include "ops/linear/linear.h"

#include "ops/element.h"
#include "ops/input_observer.h"
#include "ops/linear/cpu_rows.h"
#include "ops/linear/cuda_rows.h"
#include "ops/norm/norm.h"
#include "ops/nvfp4_activations.h"

#include <vector>

namespace nibble::ops {

namespace {

constexpr Row<LinearArgs> kRows[] = {
#ifdef NIBBLE_HAVE_CUDA
    {.name = "cuda_stream",
     .arch = Arch::cuda_any,
     .accepts = stream_linear_accepts,
     .scratch_bytes = stream_linear_scratch_bytes,
     .run = run_stream_linear},
    {.name = "cuda_plain",
     .arch = Arch::cuda_any,
     .accepts = plain_linear_accepts,
     .scratch_bytes = nullptr,
     .run = run_plain_linear},
#endif
    {.name = "avx512_bf16",
     .arch = Arch::cpu,
     .accepts = accepts_linear_avx512_bf16,
     .scratch_bytes = scratch_linear_avx512_bf16,
     .run = linear_avx512_bf16},
    {.name = "simd",
     .arch = Arch::cpu,
     .accepts = accepts_linear_simd,
     .scratch_bytes = scratch_linear_simd,
     .run = linear_simd},
    {.name = "ref", .arch = Arch::cpu, .accepts = nullptr, .scratch_bytes = nullptr, .run = linear_ref},
};

Cost cost(const OpContext&, const LinearArgs& a) {
    const int64_t rows = a.x.dim(0);
    return Cost{
        .weight_bytes = a.weight.stored_bytes + a.weight.row_scale.bytes() + a.bias.bytes() + a.norm_weight.bytes(),
        .activation_bytes = a.x.bytes() + a.y.bytes() + a.residual.bytes(),
        .operations =
            2.0 * static_cast<double>(rows) * static_cast<double>(a.weight.n) * static_cast<double>(a.weight.k)};
}

std::string shape(const LinearArgs& a) {
    return fmt::format("T={} N={} K={}", a.x.dim(0), a.weight.n, a.weight.k);
}

std::string format(const LinearArgs& a) {
    return std::string(name(a.weight.format));
}

std::string_view module(const LinearArgs& a) {
    return a.weight.name;
}

std::vector<WeightRead> weights(const OpContext&, const LinearArgs& a) {
    std::vector<WeightRead> reads = {read_of(a.weight)};
    if (!a.norm_weight.empty()) reads.push_back(read_of_norm(a.norm_weight));
    return reads;
}

// W4A4, emulated: the input to codes times block scales, the weight's scale times the input's.
void linear_of_rounded(OpContext& context, const LinearArgs& a) {
    const int64_t rows = a.x.dim(0), k = a.weight.k;
    device::ArenaScope scope(*context.arena);
    LinearArgs rounded = a;
    rounded.x = context.allocate(DType::bf16, {rows, k});
    rounded.weight.scale *= a.weight.input_scale;
    rounded.norm_weight = {};
    Tensor x = a.x;
    if (!a.norm_weight.empty()) {
        x = context.allocate(a.x.dtype(), {rows, k});
        rms_norm(context, {.x = a.x, .weight = a.norm_weight, .y = x, .eps = a.norm_eps});
    }
    if (!context.recording())
        for_each(context, rows, [&](int64_t t) {
            std::vector<float> row(static_cast<size_t>(k));
            for (int64_t i = 0; i < k; ++i) row[static_cast<size_t>(i)] = get(x.row(t), x.dtype(), i);
            round_to_nvfp4(row, a.weight.input_scale);
            for (int64_t i = 0; i < k; ++i) put(rounded.x.row(t), DType::bf16, i, row[static_cast<size_t>(i)]);
        });
    dispatch(context, kLinear, rounded);
}

}  // namespace

constinit const Op<LinearArgs> kLinear{.name = "linear",
                                       .rows = kRows,
                                       .cost = cost,
                                       .shape = shape,
                                       .format = format,
                                       .module = module,
                                       .weights = weights};

void linear(OpContext& context, const LinearArgs& a) {
    const int64_t rows = a.x.dim(0), n = a.weight.n, k = a.weight.k;
    CHECK(a.x.rank() == 2 && a.x.dim(1) == k && is_activation(a.x.dtype()), "{}: x is {}", a.weight.name,
          a.x.describe());
    CHECK(a.y.rank() == 2 && a.y.dim(0) == rows && a.y.dim(1) == n && is_activation(a.y.dtype()), "{}: y is {}",
          a.weight.name, a.y.describe());
    CHECK(a.bias.empty() || (a.bias.dtype() == DType::f32 && a.bias.elements() == n), "{}: bias is {}", a.weight.name,
          a.bias.describe());
    CHECK(a.residual.empty() ||
              (a.residual.dtype() == a.y.dtype() && a.residual.dim(0) == rows && a.residual.dim(1) == n),
          "{}: residual is {}", a.weight.name, a.residual.describe());
    CHECK(a.norm_weight.empty() || (a.norm_weight.elements() == k && is_activation(a.norm_weight.dtype())),
          "{}: norm_weight is {}", a.weight.name, a.norm_weight.describe());
    if (rows == 0) return;
    observe_input(context, a.weight.name, a.x, a.norm_weight, a.norm_eps);
    if (context.nvfp4_activations && a.weight.format == WeightFormat::nvfp4 && a.weight.input_scale > 0)
        return linear_of_rounded(context, a);
    if (!a.norm_weight.empty() && !context.device->is_cpu() && a.weight.layout == WeightLayout::row_major) {
        device::ArenaScope scope(*context.arena);  // no CUDA row normalises what it multiplies by row-major weights
        LinearArgs plain = a;
        plain.x = context.allocate(a.x.dtype(), {rows, k});
        plain.norm_weight = {};
        rms_norm(context, {.x = a.x, .weight = a.norm_weight, .y = plain.x, .eps = a.norm_eps});
        dispatch(context, kLinear, plain);
        return;
    }
    dispatch(context, kLinear, a);
}

}  // namespace nibble::ops
