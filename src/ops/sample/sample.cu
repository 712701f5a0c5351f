// sample on a GPU: one CTA a row, integer weights, so the token is the one that every other row of the table draws.
//
// The kept set (steps 5 of the contract) is a prefix in the order of x descending, id ascending: it is found by its
// last key, with four passes over the row that count, or weigh, what lies above each of 256 digits.
#include "ops/cuda/launch.h"
#include "ops/cuda/ptx.cuh"
#include "ops/sample/sample.h"
#include "ops/sample/sample_weight.h"

#include <cfloat>

namespace nibble::ops {
namespace {

constexpr int kThreads = 1024;

struct SampleParams {
    const float* logits;
    int64_t stride;
    int v;
    const SampleRow* rows;
    const SampleEntry* entries;
    float* processed;  // [R, V] scratch
    int32_t *token, *rank, *top_token;
    float *logprob, *top_logprob;
    int64_t top_stride;
};

// The same float32 operations as sample_weight(): this compiler must not fuse them.
__device__ uint64_t weight_of(float z) {
    if (!(z >= weight::kLowest)) return 0;
    const float n =
        __fadd_rn(__fadd_rn(__fmul_rn(z, weight::kLog2E), weight::kRoundToInteger), -weight::kRoundToInteger);
    const float r = __fadd_rn(__fadd_rn(z, -__fmul_rn(n, weight::kLn2High)), -__fmul_rn(n, weight::kLn2Low));
    constexpr float series[] = {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
    float e = series[0];
#pragma unroll
    for (int i = 1; i < 8; ++i) e = __fadd_rn(__fmul_rn(e, r), series[i]);
    e = __fmul_rn(e, __int_as_float((static_cast<int>(n) + 127) << 23));
    return static_cast<uint64_t>(
               __double_as_longlong(__dadd_rn(__dmul_rn(static_cast<double>(e), weight::kScale), weight::kToInteger))) -
           weight::kToIntegerBits;
}

// As penalized(), unfused.
__device__ float penalize(float x, float count, const SampleRow& row) {
    x = x > 0 ? __fdiv_rn(x, row.repetition) : __fmul_rn(x, row.repetition);
    x = __fadd_rn(x, -__fmul_rn(count, row.frequency));
    return count > 0 ? __fadd_rn(x, -row.presence) : x;
}

// Larger x, larger key.
__device__ __forceinline__ uint32_t key_of(float x) {
    const uint32_t u = __float_as_uint(x == 0.0f ? 0.0f : x);
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}

struct Best {
    float value;
    int id;
};
__device__ __forceinline__ bool before(float a, int a_id, float b, int b_id) {
    return a > b || (a == b && a_id < b_id);
}

__device__ Best block_best(Best best, Best* scratch) {
    for (int offset = 16; offset > 0; offset /= 2) {
        const float value = __shfl_xor_sync(~0u, best.value, offset);
        const int id = __shfl_xor_sync(~0u, best.id, offset);
        if (before(value, id, best.value, best.id)) best = {value, id};
    }
    __syncthreads();
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = best;
    __syncthreads();
    best = scratch[0];
    for (int w = 1; w < kThreads / 32; ++w)
        if (before(scratch[w].value, scratch[w].id, best.value, best.id)) best = scratch[w];
    return best;
}

__device__ uint64_t block_total(uint64_t value, uint64_t* scratch) {
    for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(~0u, value, offset);
    __syncthreads();
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
    __syncthreads();
    uint64_t sum = 0;
    for (int w = 0; w < kThreads / 32; ++w) sum += scratch[w];
    return sum;
}

struct Cut {
    uint32_t key;        // kept: every key above, and of this key …
    uint64_t from_ties;  // … what is still wanted (count, or weight)
};

// The key at which the sum of `measure` over keys from the largest down first reaches `wanted` (>= 1; at most their
// sum).
template <class Measure>
__device__ Cut find_cut(const float* x, int v, uint64_t wanted, Measure measure, unsigned long long* histogram,
                        Cut* shared_cut) {
    uint32_t prefix = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        for (int i = threadIdx.x; i < 256; i += kThreads) histogram[i] = 0;
        __syncthreads();
        for (int i = threadIdx.x; i < v; i += kThreads) {
            const uint32_t key = key_of(x[i]);
            if (shift != 24 && (key >> (shift + 8)) != (prefix >> (shift + 8))) continue;
            const uint64_t m = measure(x[i]);
            if (m != 0) atomicAdd(&histogram[(key >> shift) & 255u], static_cast<unsigned long long>(m));
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            uint64_t left = wanted;
            int digit = 255;
            for (; digit > 0 && histogram[digit] < left; --digit) left -= histogram[digit];
            *shared_cut = {prefix | static_cast<uint32_t>(digit) << shift, left};
        }
        __syncthreads();
        prefix = shared_cut->key;
        wanted = shared_cut->from_ties;
        __syncthreads();
    }
    return {prefix, wanted};
}

// The id of the n-th (from 1) element with this key in order of ids; v when there are fewer.
__device__ int nth_of_key(const float* x, int v, uint32_t key, uint64_t n, uint64_t* scratch, int* found) {
    if (threadIdx.x == 0) *found = v;
    const int share = (v + kThreads - 1) / kThreads, begin = min(v, static_cast<int>(threadIdx.x) * share),
              end = min(v, begin + share);
    uint64_t count = 0;
    for (int i = begin; i < end; ++i) count += key_of(x[i]) == key;
    __syncthreads();
    scratch[threadIdx.x] = count;
    __syncthreads();
    uint64_t before_me = 0;
    for (int i = 0; i < static_cast<int>(threadIdx.x); ++i) before_me += scratch[i];
    if (before_me < n && n <= before_me + count)
        for (int i = begin; i < end; ++i)
            if (key_of(x[i]) == key && ++before_me == n) *found = i;
    __syncthreads();
    return *found;
}

__global__ void __launch_bounds__(kThreads) sample_kernel(const __grid_constant__ SampleParams p) {
    __shared__ Best best_scratch[kThreads / 32];
    __shared__ uint64_t total_scratch[kThreads];
    __shared__ unsigned long long histogram[256];
    __shared__ Cut cut_scratch;
    __shared__ int found;
    ptx::await_previous_kernel();
    const int r = blockIdx.x, v = p.v;
    const SampleRow row = p.rows[r];
    const float* logits = p.logits + r * p.stride;

    Best raw{-INFINITY, v};
    bool finite = true;
    for (int i = threadIdx.x; i < v; i += kThreads) {
        const float l = __ldcg(logits + i);
        finite = finite && isfinite(l);
        if (before(l, i, raw.value, raw.id)) raw = {l, i};
    }
    if (!__syncthreads_and(finite)) {
        if (threadIdx.x == 0) p.token[r] = -1;
        return;
    }
    raw = block_best(raw, best_scratch);

    int token = row.given_token;
    if (token < 0) {
        const float* x = logits;
        Best best = raw;
        if (row.bias_entries + row.counted_entries + row.masked_entries > 0) {
            float* mine = p.processed + int64_t{r} * v;
            for (int i = threadIdx.x; i < v; i += kThreads) mine[i] = __ldcg(logits + i);
            __syncthreads();
            const SampleEntry* entry = p.entries + row.entries_begin;
            for (int i = threadIdx.x; i < row.bias_entries; i += kThreads) mine[entry[i].token] += entry[i].value;
            __syncthreads();
            entry += row.bias_entries;
            for (int i = threadIdx.x; i < row.counted_entries; i += kThreads)
                mine[entry[i].token] = penalize(mine[entry[i].token], entry[i].value, row);
            __syncthreads();
            for (int i = threadIdx.x; i < v; i += kThreads) mine[i] = fminf(fmaxf(mine[i], -FLT_MAX), FLT_MAX);
            __syncthreads();
            entry += row.counted_entries;
            for (int i = threadIdx.x; i < row.masked_entries; i += kThreads) mine[entry[i].token] = -INFINITY;
            __syncthreads();
            x = mine;
            best = {-INFINITY, v};
            for (int i = threadIdx.x; i < v; i += kThreads)
                if (before(x[i], i, best.value, best.id)) best = {x[i], i};
            best = block_best(best, best_scratch);
            if (best.id == v) best.id = 0;  // all masked: the lowest id
        }
        token = best.id;
        if (row.inverse_temperature != 0 && best.value != -INFINITY) {
            const auto z = [&](float value) { return (value - best.value) * row.inverse_temperature; };
            const auto kept_by_min = [&](float value) { return z(value) >= row.min_z; };
            uint64_t count = 0;
            for (int i = threadIdx.x; i < v; i += kThreads) count += kept_by_min(x[i]);
            count = block_total(count, total_scratch);
            // The last key kept, and the last id kept of that key (v: all of them).
            uint32_t last_key = 0;
            int last_id = v;
            if (row.top_k > 0 && static_cast<uint64_t>(row.top_k) < count) {
                const Cut cut = find_cut(
                    x, v, static_cast<uint64_t>(row.top_k), [&](float value) { return uint64_t{kept_by_min(value)}; },
                    histogram, &cut_scratch);
                last_key = cut.key;
                last_id = nth_of_key(x, v, cut.key, cut.from_ties, total_scratch, &found);
            }
            const auto kept = [&](float value, int i) {
                const uint32_t key = key_of(value);
                return kept_by_min(value) && (key > last_key || (key == last_key && i <= last_id));
            };
            uint64_t sum = 0;
            for (int i = threadIdx.x; i < v; i += kThreads)
                if (kept(x[i], i)) sum += weight_of(z(x[i]));
            sum = block_total(sum, total_scratch);
            if (row.top_p < 1.0f) {
                const uint64_t target = top_p_target(sum, row.top_p);
                const Cut cut = find_cut(
                    x, v, target, [&](float value) { return kept_by_min(value) ? weight_of(z(value)) : uint64_t{0}; },
                    histogram, &cut_scratch);
                // Elements of one key weigh the same: as many as reach what is still wanted.
                float value_at_cut = __uint_as_float(cut.key & 0x80000000u ? cut.key & 0x7FFFFFFFu : ~cut.key);
                const uint64_t each = weight_of(z(value_at_cut));
                const uint64_t ties = each == 0 ? 1 : (cut.from_ties + each - 1) / each;
                if (cut.key > last_key || (cut.key == last_key && last_id == v)) {
                    last_key = cut.key;
                    last_id = nth_of_key(x, v, cut.key, ties, total_scratch, &found);
                } else if (cut.key == last_key) {
                    last_id = min(last_id, nth_of_key(x, v, cut.key, ties, total_scratch, &found));
                }
                sum = 0;
                for (int i = threadIdx.x; i < v; i += kThreads)
                    if (kept(x[i], i)) sum += weight_of(z(x[i]));
                sum = block_total(sum, total_scratch);
            }
            const numeric::PhiloxWords words = numeric::philox(row.seed, static_cast<uint64_t>(row.position), 0);
            const uint64_t wanted = scale_random(sum, words.word[0] | uint64_t{words.word[1]} << 32);
            // Contiguous shares of ids, so that the cumulated weight goes in order of ids.
            const int share = (v + kThreads - 1) / kThreads, begin = min(v, static_cast<int>(threadIdx.x) * share),
                      end = min(v, begin + share);
            uint64_t mine = 0;
            for (int i = begin; i < end; ++i)
                if (kept(x[i], i)) mine += weight_of(z(x[i]));
            __syncthreads();
            total_scratch[threadIdx.x] = mine;
            if (threadIdx.x == 0) found = best.id;
            __syncthreads();
            uint64_t reached = 0;
            for (int i = 0; i < static_cast<int>(threadIdx.x); ++i) reached += total_scratch[i];
            if (reached <= wanted && wanted < reached + mine) {
                for (int i = begin; i < end; ++i) {
                    if (!kept(x[i], i)) continue;
                    reached += weight_of(z(x[i]));
                    if (reached > wanted) {
                        found = i;
                        break;
                    }
                }
            }
            __syncthreads();
            token = found;
        }
    }
    if (threadIdx.x == 0) p.token[r] = token;
    if (row.top < 0) return;

    uint64_t sum = 0;
    int above = 0;
    const float chosen = __ldcg(logits + token);
    for (int i = threadIdx.x; i < v; i += kThreads) {
        const float l = __ldcg(logits + i);
        sum += weight_of(l - raw.value);
        above += before(l, i, chosen, token);
    }
    sum = block_total(sum, total_scratch);
    const int rank = 1 + static_cast<int>(block_total(static_cast<uint64_t>(above), total_scratch));
    const double log_sum = log(static_cast<double>(sum) * 0x1p-44);
    const auto logprob = [&](float l) {
        return static_cast<float>(static_cast<double>(l) - static_cast<double>(raw.value) - log_sum);
    };
    if (threadIdx.x == 0) {
        p.logprob[r] = logprob(chosen);
        p.rank[r] = rank;
    }
    Best previous{INFINITY, -1};
    for (int k = 0; k < row.top; ++k) {
        Best next{-INFINITY, v};
        for (int i = threadIdx.x; i < v; i += kThreads) {
            const float l = __ldcg(logits + i);
            if (before(previous.value, previous.id, l, i) && before(l, i, next.value, next.id)) next = {l, i};
        }
        next = block_best(next, best_scratch);
        if (threadIdx.x == 0) {
            p.top_token[r * p.top_stride + k] = next.id;
            p.top_logprob[r * p.top_stride + k] = logprob(next.value);
        }
        previous = next;
    }
}

}  // namespace

bool cuda_sample_accepts(const SampleArgs&, const device::Device&) {
    return true;
}

int64_t cuda_sample_scratch_bytes(const SampleArgs& a, const device::Device&) {
    return a.entries.empty() ? 0 : a.logits.dim(0) * a.logits.dim(1) * 4;
}

void run_cuda_sample(OpContext& context, const SampleArgs& a) {
    SampleParams p{.logits = a.logits.as<float>(),
                   .stride = a.logits.row_stride(),
                   .v = static_cast<int>(a.logits.dim(1)),
                   .rows = a.rows.as<SampleRow>(),
                   .entries = a.entries.as<SampleEntry>(),
                   .processed = nullptr,
                   .token = a.token.as<int32_t>(),
                   .rank = a.rank.as<int32_t>(),
                   .top_token = a.top_token.as<int32_t>(),
                   .logprob = a.logprob.as<float>(),
                   .top_logprob = a.top_logprob.as<float>(),
                   .top_stride = a.top_token.empty() ? 0 : a.top_token.row_stride()};
    if (!a.entries.empty())
        p.processed =
            reinterpret_cast<float*>(context.arena->allocate_bytes(cuda_sample_scratch_bytes(a, *context.device)));
    cuda::launch(sample_kernel, "sample", context.stream, dim3(static_cast<unsigned>(a.logits.dim(0))), kThreads, 0, 1,
                 p);
}

}  // namespace nibble::ops
