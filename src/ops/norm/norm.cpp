// The table of op rms_norm, its cost, and its entry.
#include "ops/norm/norm.h"

#include "ops/element.h"
#include "ops/weight.h"

namespace nibble::ops {

void rms_norm_simd(OpContext&, const RmsNormArgs&);  // norm_simd.cpp
void rms_norm_ref(OpContext&, const RmsNormArgs&);   // norm_ref.cpp

#ifdef NIBBLE_HAVE_CUDA
bool cuda_rms_norm_accepts(const RmsNormArgs&, const device::Device&);  // rms_norm.cu
void run_cuda_rms_norm(OpContext&, const RmsNormArgs&);
#endif

namespace {

constexpr Row<RmsNormArgs> kRows[] = {
#ifdef NIBBLE_HAVE_CUDA
    {.name = "cuda",
     .arch = Arch::cuda_any,
     .accepts = cuda_rms_norm_accepts,
     .scratch_bytes = nullptr,
     .run = run_cuda_rms_norm},
#endif
    {.name = "simd", .arch = Arch::cpu, .accepts = nullptr, .scratch_bytes = nullptr, .run = rms_norm_simd},
    {.name = "ref", .arch = Arch::cpu, .accepts = nullptr, .scratch_bytes = nullptr, .run = rms_norm_ref},
};

Cost cost(const OpContext&, const RmsNormArgs& a) {
    return Cost{.weight_bytes = a.weight.bytes(),
                .activation_bytes = a.x.bytes() + a.y.bytes() + 2 * a.residual.bytes(),
                .operations = 4.0 * static_cast<double>(a.x.elements())};
}

std::string shape(const RmsNormArgs& a) {
    return fmt::format("T={} H={}", a.x.dim(0), a.x.dim(1));
}

std::vector<WeightRead> weights(const OpContext&, const RmsNormArgs& a) {
    return {read_of_norm(a.weight)};
}

}  // namespace

constinit const Op<RmsNormArgs> kRmsNorm{.name = "rms_norm",
                                         .rows = kRows,
                                         .cost = cost,
                                         .shape = shape,
                                         .format = nullptr,
                                         .module = nullptr,
                                         .weights = weights};

void rms_norm(OpContext& context, const RmsNormArgs& a) {
    CHECK(a.x.rank() == 2 && is_activation(a.x.dtype()), "x is {}", a.x.describe());
    CHECK(a.y.rank() == 2 && (a.y.dtype() == a.x.dtype() || a.y.dtype() == DType::bf16) && a.y.dim(0) == a.x.dim(0) &&
              a.y.dim(1) == a.x.dim(1),
          "x is {}, y is {}", a.x.describe(), a.y.describe());
    CHECK(a.residual.empty() ||
              (a.residual.dtype() == a.x.dtype() && a.residual.dim(0) == a.x.dim(0) && a.residual.dim(1) == a.x.dim(1)),
          "x is {}, residual is {}", a.x.describe(), a.residual.describe());
    CHECK(a.weight.elements() == a.x.dim(1) && is_activation(a.weight.dtype()), "weight is {}", a.weight.describe());
    if (a.x.dim(0) == 0) return;
    dispatch(context, kRmsNorm, a);
}

}  // namespace nibble::ops
