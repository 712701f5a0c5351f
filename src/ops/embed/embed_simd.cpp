// The SIMD rows of ops embed and gather_rows: rows are copied, a few at a time by whoever is called.
#include "ops/crew.h"
#include "ops/embed/cpu_rows.h"
#include "ops/embed/embed.h"
#include "ops/simd.h"

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/embed/embed_simd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace nibble::ops::HWY_NAMESPACE {
namespace {

template <class From, class To>
void scale_row(const From* from, float scale, int64_t width, To* to) {
    const F factor = hn::Set(Floats(), scale);
    for (int64_t i = 0; i < width; i += kLanes) {
        const int64_t lanes = std::min(kLanes, width - i);
        store(hn::Mul(load(from + i, lanes), factor), to + i, lanes);
    }
}

template <class From>
void scale_to(const EmbedArgs& a, const From* from, int64_t t) {
    if (a.y.dtype() == DType::f32)
        scale_row(from, a.scale, a.y.dim(1), a.y.row_as<float>(t));
    else
        scale_row(from, a.scale, a.y.dim(1), a.y.row_as<numeric::bf16>(t));
}

void embed_row_simd(const EmbedArgs& a, int64_t token, int64_t t) {
    if (a.table.dtype() == DType::f32)
        scale_to(a, a.table.row_as<const float>(token), t);
    else
        scale_to(a, a.table.row_as<const numeric::bf16>(token), t);
}

}  // namespace
}  // namespace nibble::ops::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nibble::ops {

HWY_EXPORT(embed_row_simd);

void embed_simd(OpContext& context, const EmbedArgs& a) {
    share(context, a.tokens.elements(), a.y.elements(), [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) {
            const int32_t token = a.tokens.as<const int32_t>()[t];
            CHECK(token >= 0 && token < a.table.dim(0), "token {} of a vocabulary of {}", token, a.table.dim(0));
            HWY_DYNAMIC_DISPATCH(embed_row_simd)(a, token, t);
        }
    });
}

void gather_rows_copy(OpContext& context, const GatherRowsArgs& a) {
    const auto bytes = static_cast<size_t>(a.x.dim(1) * numeric::size_bytes(a.x.dtype()));
    share(context, a.rows.elements(), a.y.elements(), [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) {
            const int32_t row = a.rows.as<const int32_t>()[r];
            CHECK(row >= 0 && row < a.x.dim(0), "row {} of {}", row, a.x.dim(0));
            std::memcpy(a.y.row(r), a.x.row(row), bytes);
        }
    });
}

}  // namespace nibble::ops
#endif
