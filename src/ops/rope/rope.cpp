// The table of op rope, its cost, and its entry.
#include "ops/rope/rope.h"

#include "ops/element.h"
#include "ops/rope/cpu_rows.h"

namespace nibble::ops {

#ifdef NIBBLE_HAVE_CUDA
bool cuda_rope_accepts(const RopeArgs&, const device::Device&);  // rope.cu
void run_cuda_rope(OpContext&, const RopeArgs&);
#endif

namespace {

constexpr Row<RopeArgs> kRows[] = {
#ifdef NIBBLE_HAVE_CUDA
    {.name = "cuda",
     .arch = Arch::cuda_any,
     .accepts = cuda_rope_accepts,
     .scratch_bytes = nullptr,
     .run = run_cuda_rope},
#endif
    {.name = "simd", .arch = Arch::cpu, .accepts = nullptr, .scratch_bytes = nullptr, .run = rope_simd},
    {.name = "ref", .arch = Arch::cpu, .accepts = nullptr, .scratch_bytes = nullptr, .run = rope_ref},
};

Cost cost(const OpContext&, const RopeArgs& a) {
    const double pairs = static_cast<double>(a.x.dim(0) * a.heads * a.inv_freq.elements());
    return Cost{.weight_bytes = a.inv_freq.bytes(), .activation_bytes = 2 * a.x.bytes(), .operations = 6.0 * pairs};
}

std::string shape(const RopeArgs& a) {
    return fmt::format("T={} heads={} D={} R={}", a.x.dim(0), a.heads, a.head_dim, 2 * a.inv_freq.elements());
}

}  // namespace

constinit const Op<RopeArgs> kRope{
    .name = "rope", .rows = kRows, .cost = cost, .shape = shape, .format = nullptr, .module = nullptr};

void rope(OpContext& context, const RopeArgs& a) {
    CHECK(a.x.rank() == 2 && is_activation(a.x.dtype()) && a.x.dim(1) == a.heads * a.head_dim, "x is {}",
          a.x.describe());
    CHECK(a.positions.dtype() == DType::i32 && a.positions.elements() == a.x.dim(0), "positions are {}",
          a.positions.describe());
    CHECK(a.inv_freq.dtype() == DType::f32 && 2 * a.inv_freq.elements() <= a.head_dim, "inv_freq is {}",
          a.inv_freq.describe());
    if (a.x.dim(0) == 0) return;
    dispatch(context, kRope, a);
}

}  // namespace nibble::ops
