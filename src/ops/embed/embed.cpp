// The tables of ops embed and gather_rows, their costs, and their entries.
#include "ops/embed/embed.h"

#include "ops/element.h"
#include "ops/embed/cpu_rows.h"

namespace nibble::ops {

#ifdef NIBBLE_HAVE_CUDA
bool cuda_embed_accepts(const EmbedArgs&, const device::Device&);  // embed.cu
void run_cuda_embed(OpContext&, const EmbedArgs&);
#endif

#ifdef NIBBLE_HAVE_CUDA
bool cuda_gather_rows_accepts(const GatherRowsArgs&, const device::Device&);  // embed.cu
void run_cuda_gather_rows(OpContext&, const GatherRowsArgs&);
#endif

namespace {

constexpr Row<EmbedArgs> kEmbedRows[] = {
#ifdef NIBBLE_HAVE_CUDA
    {.name = "cuda",
     .arch = Arch::cuda_any,
     .accepts = cuda_embed_accepts,
     .scratch_bytes = nullptr,
     .run = run_cuda_embed},
#endif
    {.name = "simd", .arch = Arch::cpu, .accepts = nullptr, .scratch_bytes = nullptr, .run = embed_simd},
    {.name = "ref", .arch = Arch::cpu, .accepts = nullptr, .scratch_bytes = nullptr, .run = embed_ref},
};
constexpr Row<GatherRowsArgs> kGatherRowsRows[] = {
#ifdef NIBBLE_HAVE_CUDA
    {.name = "cuda",
     .arch = Arch::cuda_any,
     .accepts = cuda_gather_rows_accepts,
     .scratch_bytes = nullptr,
     .run = run_cuda_gather_rows},
#endif
    {.name = "copy", .arch = Arch::cpu, .accepts = nullptr, .scratch_bytes = nullptr, .run = gather_rows_copy},
    {.name = "ref", .arch = Arch::cpu, .accepts = nullptr, .scratch_bytes = nullptr, .run = gather_rows_ref},
};

Cost embed_cost(const OpContext&, const EmbedArgs& a) {
    return Cost{.weight_bytes = a.tokens.elements() * a.table.dim(1) * numeric::size_bytes(a.table.dtype()),
                .activation_bytes = a.tokens.bytes() + a.y.bytes()};
}
std::string embed_shape(const EmbedArgs& a) {
    return fmt::format("T={} V={} H={}", a.tokens.elements(), a.table.dim(0), a.table.dim(1));
}
std::string embed_format(const EmbedArgs& a) {
    return std::string(numeric::name(a.table.dtype()));
}

Cost gather_rows_cost(const OpContext&, const GatherRowsArgs& a) {
    return Cost{.activation_bytes = 2 * a.y.bytes()};
}
std::string gather_rows_shape(const GatherRowsArgs& a) {
    return fmt::format("T={} R={} H={}", a.x.dim(0), a.rows.elements(), a.x.dim(1));
}

}  // namespace

constinit const Op<EmbedArgs> kEmbed{.name = "embed",
                                     .rows = kEmbedRows,
                                     .cost = embed_cost,
                                     .shape = embed_shape,
                                     .format = embed_format,
                                     .module = nullptr};
constinit const Op<GatherRowsArgs> kGatherRows{.name = "gather_rows",
                                               .rows = kGatherRowsRows,
                                               .cost = gather_rows_cost,
                                               .shape = gather_rows_shape,
                                               .format = nullptr,
                                               .module = nullptr};

void embed(OpContext& context, const EmbedArgs& a) {
    CHECK(a.tokens.dtype() == DType::i32 && a.table.rank() == 2 && is_activation(a.table.dtype()), "table is {}",
          a.table.describe());
    CHECK(a.y.rank() == 2 && a.y.dim(0) == a.tokens.elements() && a.y.dim(1) == a.table.dim(1) &&
              is_activation(a.y.dtype()),
          "y is {}", a.y.describe());
    if (a.y.dim(0) == 0) return;
    dispatch(context, kEmbed, a);
}

void gather_rows(OpContext& context, const GatherRowsArgs& a) {
    CHECK(a.rows.dtype() == DType::i32 && a.x.rank() == 2 && is_activation(a.x.dtype()), "x is {}", a.x.describe());
    CHECK(a.y.rank() == 2 && a.y.dim(0) == a.rows.elements() && a.y.dim(1) == a.x.dim(1) && a.y.dtype() == a.x.dtype(),
          "y is {}", a.y.describe());
    if (a.y.dim(0) == 0) return;
    dispatch(context, kGatherRows, a);
}

}  // namespace nibble::ops
