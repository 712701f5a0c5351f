// The table of op sample, its cost, and its entry.
#include "ops/sample/sample.h"

#include "ops/sample/sample_weight.h"

#include <algorithm>

namespace nibble::ops {

void sample_ref(OpContext&, const SampleArgs&);                         // sample_ref.cpp
void sample_simd(OpContext&, const SampleArgs&);                        // sample_simd.cpp
int64_t sample_simd_scratch(const SampleArgs&, const device::Device&);  // sample_simd.cpp

#ifdef NIBBLE_HAVE_CUDA
bool cuda_sample_accepts(const SampleArgs&, const device::Device&);  // sample.cu
int64_t cuda_sample_scratch_bytes(const SampleArgs&, const device::Device&);
void run_cuda_sample(OpContext&, const SampleArgs&);
#endif

namespace {

constexpr Row<SampleArgs> kRows[] = {
#ifdef NIBBLE_HAVE_CUDA
    {.name = "cuda",
     .arch = Arch::cuda_any,
     .accepts = cuda_sample_accepts,
     .scratch_bytes = cuda_sample_scratch_bytes,
     .run = run_cuda_sample},
#endif
    {.name = "simd", .arch = Arch::cpu, .accepts = nullptr, .scratch_bytes = sample_simd_scratch, .run = sample_simd},
    {.name = "ref", .arch = Arch::cpu, .accepts = nullptr, .scratch_bytes = nullptr, .run = sample_ref},
};

Cost sample_cost(const OpContext&, const SampleArgs& a) {
    return Cost{.activation_bytes = a.logits.bytes(), .operations = static_cast<double>(a.logits.elements())};
}
std::string sample_shape(const SampleArgs& a) {
    return fmt::format("R={} V={}", a.logits.dim(0), a.logits.dim(1));
}

}  // namespace

constinit const Op<SampleArgs> kSample{
    .name = "sample", .rows = kRows, .cost = sample_cost, .shape = sample_shape, .format = nullptr, .module = nullptr};

void sample(OpContext& context, const SampleArgs& a) {
    CHECK(a.logits.rank() == 2 && a.logits.dtype() == DType::f32 && a.logits.contiguous(), "logits is {}",
          a.logits.describe());
    const int64_t count = a.logits.dim(0), vocab = a.logits.dim(1);
    CHECK(vocab >= 1 && vocab <= kMaxSampleVocab, "a vocabulary of {}", vocab);
    CHECK(a.rows.dtype() == DType::u8 && a.rows.rank() == 2 && a.rows.dim(0) == count &&
              a.rows.dim(1) == int64_t{sizeof(SampleRow)},
          "rows is {}", a.rows.describe());
    CHECK(a.entries.empty() || (a.entries.dtype() == DType::u8 && a.entries.dim(1) == int64_t{sizeof(SampleEntry)}),
          "entries is {}", a.entries.describe());
    CHECK(a.token.dtype() == DType::i32 && a.token.elements() == count, "token is {}", a.token.describe());
    CHECK(a.logprob.dtype() == DType::f32 && a.logprob.elements() == count, "logprob is {}", a.logprob.describe());
    CHECK(a.rank.dtype() == DType::i32 && a.rank.elements() == count, "rank is {}", a.rank.describe());
    CHECK(a.top_token.empty() || (a.top_token.dtype() == DType::i32 && a.top_token.dim(0) == count &&
                                  a.top_logprob.dtype() == DType::f32 && a.top_logprob.dim(0) == count &&
                                  a.top_logprob.dim(1) == a.top_token.dim(1)),
          "top_token is {}, top_logprob is {}", a.top_token.describe(), a.top_logprob.describe());
    if (count == 0) return;
    dispatch(context, kSample, a);
}

}  // namespace nibble::ops
