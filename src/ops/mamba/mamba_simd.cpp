// The SIMD row of op mamba: the recurrence itself, token by token, whatever the number of tokens.
//
// At most kWaveTokens rows of the step at a time pass three loops of the crew: convolution (a lane is a channel), state
// update (a unit is a head of a sequence; lanes are its N state columns, a few rows of the state stay in registers
// while the tokens pass), gate and norm. What is kept between waves is what is kept between steps, so neither the cut
// into steps nor the waves are seen in a result. One token is bound by reading and writing the state; a prompt by three
// operations a state element, a fiftieth of what the projections cost.
#include "ops/crew.h"
#include "ops/mamba/cpu_rows.h"
#include "ops/mamba/mamba.h"
#include "ops/simd.h"

#include <algorithm>
#include <cmath>
#include <span>

#ifndef NIBBLE_MAMBA_WAVE
#define NIBBLE_MAMBA_WAVE
namespace nibble::ops {
namespace {

constexpr int64_t kWaveTokens = 256;
constexpr int64_t kMaxConvKernel = 16;
constexpr int64_t kChannelUnit = 128;  // channels a unit of the convolution

// Rows of one sequence in a wave.
struct MambaPiece {
    int64_t slot, first_row, rows;
    bool fresh;  // starts from zero
};

// What a wave's loops hand on to each other: float32, [row in the wave][…].
struct MambaWave {
    int64_t first_row;
    float* conv;  // [C], after silu and rounding
    float* y;     // [I], the recurrence's sum without D·x
};

}  // namespace
}  // namespace nibble::ops
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/mamba/mamba_simd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/simd-inl.h"
#include "ops/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace nibble::ops::HWY_NAMESPACE {
namespace {

// Element j of `count` consecutive rows of `width` elements as lanes.
template <class T>
F gather_column(const T* rows, int64_t width, int64_t j, int64_t count) {
    HWY_ALIGN float lane[kLanes] = {};
    for (int64_t i = 0; i < std::min(count, kLanes); ++i) lane[i] = to_float(rows[i * width + j]);
    return hn::Load(Floats(), lane);
}

// Columns of whole vectors of rows at once, for the kernels that models have.
HWY_INLINE void load_columns(const float* rows, F (&column)[4]) {
    hn::LoadInterleaved4(Floats(), rows, column[0], column[1], column[2], column[3]);
}
HWY_INLINE void load_columns(const float* rows, F (&column)[3]) {
    hn::LoadInterleaved3(Floats(), rows, column[0], column[1], column[2]);
}
HWY_INLINE void load_columns(const numeric::bf16* rows, F (&column)[3]) {
    const Words d;
    hn::Vec<Halves> half[3];
    hn::LoadInterleaved3(Halves(), reinterpret_cast<const uint16_t*>(rows), half[0], half[1], half[2]);
    NIBBLE_UNROLL for (int j = 0; j < 3; ++j) column[j] =
        hn::BitCast(Floats(), hn::ShiftLeft<16>(hn::PromoteTo(d, half[j])));
}
HWY_INLINE void store_columns(const F (&column)[3], float* rows) {
    hn::StoreInterleaved3(column[0], column[1], column[2], Floats(), rows);
}
HWY_INLINE void store_columns(const F (&column)[3], numeric::bf16* rows) {
    hn::Vec<Halves> half[3];
    NIBBLE_UNROLL for (int j = 0; j < 3; ++j) half[j] =
        hn::DemoteTo(Halves(), hn::BitCast(Integers(), hn::ShiftRight<16>(hn::BitCast(Words(), column[j]))));
    hn::StoreInterleaved3(half[0], half[1], half[2], Halves(), reinterpret_cast<uint16_t*>(rows));
}

// kLanes channels of a kernel of 4 taps; the same sums as convolve().
template <class T, class Kept>
void convolve4(const MambaArgs& a, const MambaPiece& piece, const MambaWave& wave, int64_t c, F offset) {
    const int64_t channels = a.conv_weight.dim(0), inner = a.heads * a.head_dim;
    Kept* state = a.conv_state.row_as<Kept>(piece.slot) + c * 3;
    F w[4], past[3];
    load_columns(a.conv_weight.as<const float>() + c * 4, w);
    if (piece.fresh)
        past[0] = past[1] = past[2] = hn::Zero(Floats());
    else
        load_columns(state, past);
    for (int64_t t = 0; t < piece.rows; ++t) {
        const F newest = load(a.u.row_as<const T>(piece.first_row + t) + inner + c);
        const F older = hn::MulAdd(w[2], past[2], hn::MulAdd(w[1], past[1], hn::MulAdd(w[0], past[0], offset)));
        const F sum = hn::MulAdd(w[3], newest, older);
        past[0] = past[1];
        past[1] = past[2];
        past[2] = rounded_as<Kept>(newest);
        store(rounded_as<T>(hn::Mul(sum, sigmoid(sum))),
              wave.conv + (piece.first_row + t - wave.first_row) * channels + c);
    }
    store_columns(past, state);
}

// Channels [begin, end) of a piece: convolution, silu, and the conv state.
template <class T, class Kept>
void convolve(const MambaArgs& a, const MambaPiece& piece, const MambaWave& wave, int64_t begin, int64_t end) {
    const int64_t kernel = a.conv_kernel, channels = a.conv_weight.dim(0), inner = a.heads * a.head_dim;
    const float* bias = a.conv_bias.empty() ? nullptr : a.conv_bias.as<const float>();
    for (int64_t c = begin; c < end; c += kLanes) {
        const int64_t lanes = std::min(kLanes, end - c);
        const F offset = bias != nullptr ? load(bias + c, lanes) : hn::Zero(Floats());
        if (kernel == 4 && lanes == kLanes) {
            convolve4<T, Kept>(a, piece, wave, c, offset);
            continue;
        }
        Kept* state = a.conv_state.row_as<Kept>(piece.slot) + c * (kernel - 1);
        // w[kernel - 1] meets the newest input; past[0] is the oldest.
        F w[kMaxConvKernel], past[kMaxConvKernel];
        for (int64_t j = 0; j < kernel; ++j)
            w[j] = gather_column(a.conv_weight.as<const float>() + c * kernel, kernel, j, lanes);
        for (int64_t j = 0; j < kernel - 1; ++j)
            past[j] = piece.fresh ? hn::Zero(Floats()) : gather_column(state, kernel - 1, j, lanes);
        for (int64_t t = 0; t < piece.rows; ++t) {
            const F newest = load(a.u.row_as<const T>(piece.first_row + t) + inner + c, lanes);
            F sum = offset;
            for (int64_t j = 0; j < kernel - 1; ++j) sum = hn::MulAdd(w[j], past[j], sum);
            sum = hn::MulAdd(w[kernel - 1], newest, sum);
            for (int64_t j = 0; j < kernel - 2; ++j) past[j] = past[j + 1];
            past[kernel - 2] = rounded_as<Kept>(newest);
            float* to = wave.conv + (piece.first_row + t - wave.first_row) * channels + c;
            store(rounded_as<T>(hn::Mul(sum, sigmoid(sum))), to, lanes);
        }
        for (int64_t j = 0; j < kernel - 1; ++j) {
            HWY_ALIGN float lane[kLanes];
            hn::Store(past[j], Floats(), lane);
            for (int64_t i = 0; i < lanes; ++i) state[i * (kernel - 1) + j] = from_float<Kept>(lane[i]);
        }
    }
}

void convolve_simd(const MambaArgs& a, const MambaPiece& piece, const MambaWave& wave, int64_t begin, int64_t end) {
    const bool f32 = a.u.dtype() == DType::f32, kept_f32 = a.conv_state.dtype() == DType::f32;
    if (f32 && kept_f32)
        convolve<float, float>(a, piece, wave, begin, end);
    else if (f32)
        convolve<float, numeric::bf16>(a, piece, wave, begin, end);
    else if (kept_f32)
        convolve<numeric::bf16, float>(a, piece, wave, begin, end);
    else
        convolve<numeric::bf16, numeric::bf16>(a, piece, wave, begin, end);
}

// What the update of a head needs of every token of a piece.
struct HeadTokens {
    int64_t rows, stride;    // of b, c and x, in floats
    const float *x, *b, *c;  // the first token's
    float* y;
    int64_t y_stride;
    float decay[kWaveTokens], dt[kWaveTokens];
};

// kRows rows of the state, kVectors vectors wide, in registers over all tokens:
// S = decay·S + (dt·x)·B, y = Σ S·C over even and odd vectors apart.
template <int kRows, int kVectors>
void update_rows(const HeadTokens& h, int64_t p, bool fresh, float* state) {
    const Floats d;
    F s[kRows][kVectors];
    NIBBLE_UNROLL for (int r = 0; r < kRows; ++r) NIBBLE_UNROLL for (int v = 0; v < kVectors; ++v) s[r][v] =
        fresh ? hn::Zero(d) : hn::LoadU(d, state + (r * kVectors + v) * kLanes);
    for (int64_t t = 0; t < h.rows; ++t) {
        const float *b = h.b + t * h.stride, *c = h.c + t * h.stride, *x = h.x + t * h.stride + p;
        const F decay = hn::Set(d, h.decay[t]);
        F sum[kRows][2];
        NIBBLE_UNROLL for (int r = 0; r < kRows; ++r) {
            const F dtx = hn::Set(d, h.dt[t] * x[r]);
            sum[r][0] = sum[r][1] = hn::Zero(d);
            NIBBLE_UNROLL for (int v = 0; v < kVectors; ++v) {
                s[r][v] = hn::MulAdd(dtx, hn::LoadU(d, b + v * kLanes), hn::Mul(decay, s[r][v]));
                sum[r][v % 2] = hn::MulAdd(s[r][v], hn::LoadU(d, c + v * kLanes), sum[r][v % 2]);
            }
        }
        NIBBLE_UNROLL for (int r = 0; r < kRows; ++r) h.y[t * h.y_stride + p + r] =
            sum_of_lanes(hn::Add(sum[r][0], sum[r][1]));
    }
    NIBBLE_UNROLL for (int r = 0; r < kRows; ++r) NIBBLE_UNROLL for (int v = 0; v < kVectors; ++v)
        hn::StoreU(s[r][v], d, state + (r * kVectors + v) * kLanes);
}

// One row of any width, in memory; the same sums.
void update_row(const HeadTokens& h, int64_t p, bool fresh, int64_t width, float* state) {
    const Floats d;
    if (fresh) std::fill_n(state, width, 0.0f);
    for (int64_t t = 0; t < h.rows; ++t) {
        const float *b = h.b + t * h.stride, *c = h.c + t * h.stride;
        const F decay = hn::Set(d, h.decay[t]), dtx = hn::Set(d, h.dt[t] * h.x[t * h.stride + p]);
        F even = hn::Zero(d), odd = hn::Zero(d);
        for (int64_t n = 0; n < width; n += kLanes) {
            const int64_t lanes = std::min(kLanes, width - n);
            const F s = hn::MulAdd(dtx, load(b + n, lanes), hn::Mul(decay, load(state + n, lanes)));
            store(s, state + n, lanes);
            F& sum = n / kLanes % 2 == 0 ? even : odd;
            sum = hn::MulAdd(s, load(c + n, lanes), sum);
        }
        h.y[t * h.y_stride + p] = sum_of_lanes(hn::Add(even, odd));
    }
}

template <int kRows, int kVectors>
void update_head(const HeadTokens& h, int64_t head_dim, bool fresh, float* state) {
    int64_t p = 0;
    for (; p + kRows <= head_dim; p += kRows) update_rows<kRows, kVectors>(h, p, fresh, state + p * kVectors * kLanes);
    for (; p < head_dim; ++p) update_rows<1, kVectors>(h, p, fresh, state + p * kVectors * kLanes);
}

float softplus(float v) {
    return v > 20.0f ? v : static_cast<float>(std::log1p(std::exp(double(v))));
}

void update_simd(const MambaArgs& a, const MambaPiece& piece, const MambaWave& wave, int64_t head) {
    const int64_t inner = a.heads * a.head_dim, width = a.state_size, channels = a.conv_weight.dim(0);
    const int64_t group = head / (a.heads / a.groups), row = piece.first_row - wave.first_row;
    const float* conv = wave.conv + row * channels;
    HeadTokens h;
    h.rows = piece.rows;
    h.stride = channels;
    h.x = conv + head * a.head_dim;
    h.b = conv + inner + group * width;
    h.c = h.b + a.groups * width;
    h.y = wave.y + row * inner + head * a.head_dim;
    h.y_stride = inner;
    const double rate = -std::exp(double(a.a_log.as<const float>()[head]));
    for (int64_t t = 0; t < piece.rows; ++t) {
        const int64_t at = inner + channels + head;
        const float raw = a.u.dtype() == DType::f32
                              ? a.u.row_as<const float>(piece.first_row + t)[at]
                              : a.u.row_as<const numeric::bf16>(piece.first_row + t)[at].to_float();
        h.dt[t] = std::clamp(softplus(raw + a.dt_bias.as<const float>()[head]), a.dt_min, a.dt_max);
        h.decay[t] = static_cast<float>(std::exp(rate * h.dt[t]));
    }
    float* state = a.ssm_state.row_as<float>(piece.slot) + head * a.head_dim * width;
    constexpr int64_t kRegisters = kLanes >= 16 ? 16 : 8;  // of state
    if (width == kLanes)
        update_head<4, 1>(h, a.head_dim, piece.fresh, state);
    else if (width == 2 * kLanes)
        update_head<4, 2>(h, a.head_dim, piece.fresh, state);
    else if (width == 4 * kLanes)
        update_head<kRegisters / 4, 4>(h, a.head_dim, piece.fresh, state);
    else if (width == 8 * kLanes)
        update_head<kRegisters / 8, 8>(h, a.head_dim, piece.fresh, state);
    else
        for (int64_t p = 0; p < a.head_dim; ++p) update_row(h, p, piece.fresh, width, state + p * width);
}

// out = norm of a group's v = (y + D·x)·silu(z), for one token.
template <class T>
void gate_and_norm(const MambaArgs& a, const MambaWave& wave, int64_t row, int64_t group) {
    const Floats d;
    const int64_t inner = a.heads * a.head_dim, channels = a.conv_weight.dim(0);
    const int64_t heads = a.heads / a.groups, width = heads * a.head_dim;
    const T* z = a.u.row_as<const T>(row);
    const float* x = wave.conv + (row - wave.first_row) * channels;
    float* y = wave.y + (row - wave.first_row) * inner;
    F square = hn::Zero(d);
    for (int64_t head = group * heads; head < (group + 1) * heads; ++head) {
        const F skip = hn::Set(d, a.d.as<const float>()[head]);
        for (int64_t c = head * a.head_dim; c < (head + 1) * a.head_dim; c += kLanes) {
            const int64_t lanes = std::min(kLanes, (head + 1) * a.head_dim - c);
            const F gate = load(z + c, lanes);
            const F sum = rounded_as<T>(hn::MulAdd(skip, load(x + c, lanes), load(y + c, lanes)));
            const F v = hn::Mul(sum, hn::Mul(gate, sigmoid(gate)));
            store(v, y + c, lanes);
            square = hn::MulAdd(v, v, square);
        }
    }
    const F r = hn::Set(d, 1.0f / std::sqrt(sum_of_lanes(square) / static_cast<float>(width) + a.eps));
    T* out = a.out.row_as<T>(row);
    const float* weight = a.norm_weight.as<const float>();
    for (int64_t c = group * width; c < (group + 1) * width; c += kLanes) {
        const int64_t lanes = std::min(kLanes, (group + 1) * width - c);
        const F normed = rounded_as<T>(hn::Mul(load(y + c, lanes), r));
        store(hn::Mul(normed, load(weight + c, lanes)), out + c, lanes);
    }
}

void gate_and_norm_simd(const MambaArgs& a, const MambaWave& wave, int64_t row, int64_t group) {
    if (a.u.dtype() == DType::f32)
        gate_and_norm<float>(a, wave, row, group);
    else
        gate_and_norm<numeric::bf16>(a, wave, row, group);
}

}  // namespace
}  // namespace nibble::ops::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nibble::ops {
namespace {

HWY_EXPORT(convolve_simd);
HWY_EXPORT(update_simd);
HWY_EXPORT(gate_and_norm_simd);

int64_t wave_tokens(const MambaArgs& a) {
    return std::min(a.sequences.tokens, kWaveTokens);
}

// The pieces of rows [begin, end) of the step.
int64_t cut_pieces(const MambaArgs& a, int64_t begin, int64_t end, std::span<MambaPiece> pieces) {
    const Sequences& s = a.sequences;
    const int32_t* row_start = s.row_start.as<const int32_t>();
    int64_t count = 0;
    for (int64_t b = 0; b < s.count; ++b) {
        const int64_t first = std::max<int64_t>(row_start[b], begin), last = std::min<int64_t>(row_start[b + 1], end);
        if (first >= last) continue;
        const int64_t slot = s.slot.as<const int32_t>()[b];
        CHECK(slot >= 0 && slot < a.ssm_state.dim(0), "slot {} of {}", slot, a.ssm_state.dim(0));
        const bool fresh =
            first == row_start[b] && s.context_length.as<const int32_t>()[b] == row_start[b + 1] - row_start[b];
        pieces[static_cast<size_t>(count++)] = {slot, first, last - first, fresh};
    }
    return count;
}

}  // namespace

bool accepts_mamba_simd(const MambaArgs& a, const device::Device&) {
    return a.conv_kernel <= kMaxConvKernel;
}

int64_t scratch_mamba_simd(const MambaArgs& a, const device::Device&) {
    const int64_t tokens = wave_tokens(a), pieces = std::min(tokens, a.sequences.count);
    const auto padded = [](int64_t bytes) { return (bytes + 255) / 256 * 256; };
    return padded(tokens * a.conv_weight.dim(0) * 4) + padded(tokens * a.heads * a.head_dim * 4) +
           padded(pieces * static_cast<int64_t>(sizeof(MambaPiece)));
}

void mamba_simd(OpContext& context, const MambaArgs& a) {
    const int64_t inner = a.heads * a.head_dim, channels = a.conv_weight.dim(0), tokens = wave_tokens(a);
    MambaWave wave{.first_row = 0,
                   .conv = context.allocate(DType::f32, {tokens, channels}).as<float>(),
                   .y = context.allocate(DType::f32, {tokens, inner}).as<float>()};
    const std::span<MambaPiece> pieces(
        reinterpret_cast<MambaPiece*>(context.arena->allocate_bytes(std::min(tokens, a.sequences.count) *
                                                                    static_cast<int64_t>(sizeof(MambaPiece)))),
        static_cast<size_t>(std::min(tokens, a.sequences.count)));
    for (int64_t row = 0; row < a.sequences.tokens; row += kWaveTokens) {
        wave.first_row = row;
        const int64_t rows = std::min(kWaveTokens, a.sequences.tokens - row);
        const int64_t count = cut_pieces(a, row, row + rows, pieces);
        const int64_t units = (channels + kChannelUnit - 1) / kChannelUnit;
        share(context, count * units, 8 * rows * channels, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) HWY_DYNAMIC_DISPATCH(convolve_simd)
            (a, pieces[static_cast<size_t>(i / units)], wave, i % units * kChannelUnit,
             std::min((i % units + 1) * kChannelUnit, channels));
        });
        share(context, count * a.heads, rows * inner * a.state_size, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i)
                HWY_DYNAMIC_DISPATCH(update_simd)(a, pieces[static_cast<size_t>(i / a.heads)], wave, i % a.heads);
        });
        share(context, rows * a.groups, 8 * rows * inner, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i)
                HWY_DYNAMIC_DISPATCH(gate_and_norm_simd)(a, wave, row + i / a.groups, i % a.groups);
        });
    }
}

}  // namespace nibble::ops
#endif
