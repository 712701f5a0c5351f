// The table of op activate, its cost, and its entry.
#include "ops/element.h"
#include "ops/moe/activation.h"
#include "ops/moe/cpu_rows.h"
#include "ops/moe/moe.h"

namespace nibble::ops {

#ifdef NIBBLE_HAVE_CUDA
bool cuda_activate_accepts(const ActivateArgs&, const device::Device&);  // activate.cu
void run_cuda_activate(OpContext&, const ActivateArgs&);
#endif

namespace {

constexpr Row<ActivateArgs> kRows[] = {
#ifdef NIBBLE_HAVE_CUDA
    {.name = "cuda",
     .arch = Arch::cuda_any,
     .accepts = cuda_activate_accepts,
     .scratch_bytes = nullptr,
     .run = run_cuda_activate},
#endif
    {.name = "simd", .arch = Arch::cpu, .accepts = nullptr, .scratch_bytes = nullptr, .run = activate_simd},
    {.name = "ref", .arch = Arch::cpu, .accepts = nullptr, .scratch_bytes = nullptr, .run = activate_ref},
};

Cost cost(const OpContext&, const ActivateArgs& a) {
    return Cost{.activation_bytes = a.x.bytes() + a.y.bytes(), .operations = 4.0 * static_cast<double>(a.x.elements())};
}

std::string shape(const ActivateArgs& a) {
    return fmt::format("T={} F={}", a.y.dim(0), a.y.dim(1));
}

}  // namespace

constinit const Op<ActivateArgs> kActivate{
    .name = "activate", .rows = kRows, .cost = cost, .shape = shape, .format = nullptr, .module = nullptr};

void activate(OpContext& context, const ActivateArgs& a) {
    CHECK(a.x.rank() == 2 && a.y.rank() == 2 && a.x.dim(0) == a.y.dim(0) && a.x.dtype() == a.y.dtype() &&
              is_activation(a.x.dtype()) && a.x.dim(1) == a.y.dim(1) * (is_gated(a.activation) ? 2 : 1),
          "x is {}, y is {}", a.x.describe(), a.y.describe());
    if (a.x.dim(0) == 0) return;
    dispatch(context, kActivate, a);
}

}  // namespace nibble::ops
