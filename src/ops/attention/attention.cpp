// The table of op attention, its cost, and its entry.
#include "ops/attention/attention.h"

#include "ops/attention/cpu_rows.h"
#include "ops/attention/cuda_rows.h"
#include "ops/element.h"

#include <algorithm>

namespace nibble::ops {

namespace {

constexpr Row<AttentionArgs> kRows[] = {
#ifdef NIBBLE_HAVE_CUDA
    {.name = "cuda_mma",
     .arch = Arch::cuda_any,
     .accepts = mma_attention_accepts,
     .scratch_bytes = mma_attention_scratch_bytes,
     .run = run_mma_attention},
    {.name = "cuda",
     .arch = Arch::cuda_any,
     .accepts = cuda_attention_accepts,
     .scratch_bytes = cuda_attention_scratch_bytes,
     .run = run_cuda_attention},
#endif
    {.name = "simd",
     .arch = Arch::cpu,
     .accepts = accepts_attention_simd,
     .scratch_bytes = scratch_attention_simd,
     .run = attention_simd},
    {.name = "ref", .arch = Arch::cpu, .accepts = nullptr, .scratch_bytes = nullptr, .run = attention_ref},
};

// Exact when the sequences of the step are equally long, as in a recorded step; else by their average.
Cost cost(const OpContext&, const AttentionArgs& a) {
    const Sequences& s = a.sequences;
    const double count = static_cast<double>(std::max<int64_t>(s.count, 1));
    const double rows = static_cast<double>(s.tokens) / count, context = static_cast<double>(s.total_context) / count;
    // A sequence's rows see context - rows + 1 … context keys; all of them together read the widest span once.
    double span = context, keys = context - (rows - 1) / 2;
    if (a.window > 0) {
        const double window = static_cast<double>(a.window);
        span = std::min(span, window + rows - 1);
        keys = std::min(keys, window);
    }
    const int64_t token_bytes = 2 * a.kv_heads * a.head_dim * numeric::size_bytes(a.k_pages.dtype());
    return Cost{.kv_read_bytes = static_cast<int64_t>(span * count) * token_bytes,
                .kv_written_bytes = s.tokens * token_bytes,
                .activation_bytes = a.q.bytes() + a.k.bytes() + a.v.bytes() + a.out.bytes(),
                .operations = 4.0 * static_cast<double>(a.query_heads * a.head_dim * s.tokens) * keys};
}

std::string shape(const AttentionArgs& a) {
    return fmt::format("T={} B={} context={} Hq={} Hkv={} D={}", a.sequences.tokens, a.sequences.count,
                       a.sequences.max_context, a.query_heads, a.kv_heads, a.head_dim);
}

}  // namespace

constinit const Op<AttentionArgs> kAttention{
    .name = "attention", .rows = kRows, .cost = cost, .shape = shape, .format = nullptr, .module = nullptr};

void attention(OpContext& context, const AttentionArgs& a) {
    const Sequences& s = a.sequences;
    const int64_t kv_width = a.kv_heads * a.head_dim;
    CHECK(a.kv_heads > 0 && a.query_heads % a.kv_heads == 0 && s.page_size > 0);
    CHECK(a.q.rank() == 2 && a.q.dim(0) == s.tokens && a.q.dim(1) == a.query_heads * a.head_dim &&
              is_activation(a.q.dtype()),
          "q is {}", a.q.describe());
    for (const Tensor* t : {&a.k, &a.v})
        CHECK(t->rank() == 2 && t->dim(0) == s.tokens && t->dim(1) == kv_width && t->dtype() == a.q.dtype(),
              "k or v is {}", t->describe());
    for (const Tensor* t : {&a.k_pages, &a.v_pages})
        CHECK(t->rank() == 4 && t->dim(1) == s.page_size && t->dim(2) == a.kv_heads && t->dim(3) == a.head_dim,
              "pages are {}", t->describe());
    CHECK(a.out.rank() == 2 && a.out.dim(0) == s.tokens && a.out.dim(1) == a.q.dim(1) && a.out.dtype() == a.q.dtype(),
          "out is {}", a.out.describe());
    CHECK(a.scale > 0.0f && a.k_scale > 0.0f && a.v_scale > 0.0f && a.window >= 0);
    if (s.tokens == 0) return;
    dispatch(context, kAttention, a);
}

}  // namespace nibble::ops
