// mamba on a GPU. A step in which every sequence has one row is one kernel:
//   step   a CTA a (sequence, head), a cluster a group: convolution, update and gate, then the heads of the group tell
//          each other their sums of squares. State, taps and weights are asked for before the dependency wait
// Any other step is three, with the same arithmetic in the same order:
//   conv   a thread a row and channel: the taps are the sequence's earlier rows, or its conv_state before them
//   scan   a CTA a (sequence, head, part of P): the state stays in registers while the rows go by in chunks through
//          shared memory; eight lanes share a row of the state; then the sequence's new conv_state
//   norm   a CTA a row and group: gate, sum of squares, scale
// The recurrence is taken row by row, so a chunk's cut changes nothing. Bound: for a token one round trip to memory and
// one between CTAs (the state's bytes, 4 MB a layer, are on their way before), for a prompt the rows' latency (about 80
// cycles each).
#include "ops/cuda/elements.cuh"
#include "ops/cuda/launch.h"
#include "ops/cuda/ptx.cuh"
#include "ops/mamba/mamba.h"

#include <algorithm>

namespace nibble::ops {
namespace {

constexpr int kLanes = 8;   // that share one row of the state
constexpr int kChunk = 16;  // rows in shared memory at a time
constexpr int kScanThreads = 256;
constexpr int kParts = kScanThreads / kLanes;  // rows of the state a CTA holds

struct MambaParams {
    const __nv_bfloat16* u;
    int64_t u_stride;
    const float *conv_weight, *conv_bias, *a_log, *d, *dt_bias, *norm_weight;
    void* conv_state;
    bool conv_state_is_float;
    float* ssm_state;
    float* conv;       // [T, C] scratch
    __nv_bfloat16* y;  // [T, I] scratch
    __nv_bfloat16* out;
    int64_t out_stride;
    const int32_t *row_start, *context_length, *slot;
    int sequences, tokens, inner, channels, heads, head_dim, groups, state_size, kernel;
    float eps, dt_min, dt_max;
};

__device__ float load_conv_state(const MambaParams& p, int64_t at) {
    return p.conv_state_is_float ? __ldcg(static_cast<const float*>(p.conv_state) + at)
                                 : cuda::load_bf16(static_cast<const __nv_bfloat16*>(p.conv_state) + at);
}

// The input of channel c at row offset i of the sequence (negative: before this step).
__device__ float conv_input(const MambaParams& p, int first_row, int i, int c, int slot, bool fresh) {
    if (i >= 0) return cuda::load_bf16(p.u + int64_t{first_row + i} * p.u_stride + p.inner + c);
    if (fresh) return 0.0f;
    return load_conv_state(p, (int64_t{1} * slot * p.channels + c) * (p.kernel - 1) + p.kernel - 1 + i);
}

__global__ void __launch_bounds__(256) mamba_conv_kernel(const __grid_constant__ MambaParams p) {
    const int t = blockIdx.y, c = blockIdx.x * blockDim.x + threadIdx.x;
    ptx::await_previous_kernel();
    if (c >= p.channels || t >= __ldcg(p.row_start + p.sequences)) return;
    const int b = cuda::sequence_of_row(p.row_start, p.sequences, t), first = __ldcg(p.row_start + b),
              rows = __ldcg(p.row_start + b + 1) - first;
    const bool fresh = __ldcg(p.context_length + b) == rows;
    const int slot = __ldcg(p.slot + b);
    float sum = p.conv_bias ? p.conv_bias[c] : 0.0f;
    for (int j = 0; j < p.kernel; ++j)
        sum += p.conv_weight[c * p.kernel + j] * conv_input(p, first, t - first - (p.kernel - 1) + j, c, slot, fresh);
    p.conv[int64_t{1} * t * p.channels + c] = cuda::round_bf16(cuda::silu(sum));
}

template <int kPerLane>
__global__ void __launch_bounds__(kScanThreads) mamba_scan_kernel(const __grid_constant__ MambaParams p) {
    const int head = blockIdx.x, b = blockIdx.y, part = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
    const int row_p = blockIdx.z * kParts + part;
    const bool active = row_p < p.head_dim;
    extern __shared__ float shared[];
    const int n = p.state_size;
    float *bs = shared, *cs = bs + kChunk * n, *xs = cs + kChunk * n;
    float *dts = xs + kChunk * kParts, *decays = dts + kChunk;
    const float a = -expf(p.a_log[head]), bias = p.dt_bias[head], d = p.d[head];
    const int group = head / (p.heads / p.groups);

    ptx::await_previous_kernel();
    const int first = __ldcg(p.row_start + b), rows = __ldcg(p.row_start + b + 1) - first, slot = __ldcg(p.slot + b);
    if (rows == 0) return;
    const bool fresh = __ldcg(p.context_length + b) == rows;
    float* state = p.ssm_state + ((int64_t{1} * slot * p.heads + head) * p.head_dim + row_p) * n;
    float s[kPerLane];
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) s[i] = 0;
    if (active && !fresh) {
#pragma unroll
        for (int i = 0; i < kPerLane; i += 2) {  // pair i of a lane: n = (i / 2 * 8 + lane) * 2
            const float2 v = __ldcg(reinterpret_cast<const float2*>(state + (i / 2 * kLanes + lane) * 2));
            s[i] = v.x, s[i + 1] = v.y;
        }
    }
    for (int t0 = 0; t0 < rows; t0 += kChunk) {
        const int count = min(kChunk, rows - t0);
        __syncthreads();
        for (int i = threadIdx.x; i < count * n; i += kScanThreads) {
            const float* row = p.conv + (int64_t{first} + t0 + i / n) * p.channels + p.inner + group * n + i % n;
            bs[i] = __ldcg(row);
            cs[i] = __ldcg(row + p.groups * n);
        }
        for (int i = threadIdx.x; i < count * kParts; i += kScanThreads) {
            const int at = blockIdx.z * kParts + i % kParts;
            xs[i] = at < p.head_dim
                        ? __ldcg(p.conv + (int64_t{first} + t0 + i / kParts) * p.channels + head * p.head_dim + at)
                        : 0.0f;
        }
        if (threadIdx.x < count) {
            const float raw =
                cuda::load_bf16(p.u + (int64_t{first} + t0 + threadIdx.x) * p.u_stride + p.inner + p.channels + head) +
                bias;
            const float dt = fminf(fmaxf(raw > 20.0f ? raw : log1pf(expf(raw)), p.dt_min), p.dt_max);
            dts[threadIdx.x] = dt;
            decays[threadIdx.x] = expf(a * dt);
        }
        __syncthreads();
        for (int i = 0; i < count; ++i) {
            const float x = xs[i * kParts + part], step = dts[i] * x, decay = decays[i];
            float y = 0;
#pragma unroll
            for (int j = 0; j < kPerLane; j += 2) {
                const int at = i * n + (j / 2 * kLanes + lane) * 2;
                const float2 bv = *reinterpret_cast<const float2*>(bs + at),
                             cv = *reinterpret_cast<const float2*>(cs + at);
                s[j] = decay * s[j] + step * bv.x;
                s[j + 1] = decay * s[j + 1] + step * bv.y;
                y += s[j] * cv.x;
                y += s[j + 1] * cv.y;
            }
            for (int offset = kLanes / 2; offset > 0; offset /= 2) y += __shfl_xor_sync(~0u, y, offset);
            if (lane == 0 && active)
                p.y[(int64_t{first} + t0 + i) * p.inner + head * p.head_dim + row_p] = __float2bfloat16_rn(y + d * x);
        }
    }
    if (active) {
#pragma unroll
        for (int i = 0; i < kPerLane; i += 2)
            *reinterpret_cast<float2*>(state + (i / 2 * kLanes + lane) * 2) = make_float2(s[i], s[i + 1]);
    }
    // The sequence's channels are dealt to its (head, part) CTAs; each channel's thread reads what it overwrites.
    const int block = head * gridDim.z + blockIdx.z, blocks = gridDim.x * gridDim.z;
    for (int c = block * kScanThreads + threadIdx.x; c < p.channels; c += blocks * kScanThreads) {
        float last[8];
        for (int j = 0; j < p.kernel - 1; ++j)
            last[j] = conv_input(p, first, rows - (p.kernel - 1) + j, c, slot, fresh);
        for (int j = 0; j < p.kernel - 1; ++j) {
            const int64_t at = (int64_t{1} * slot * p.channels + c) * (p.kernel - 1) + j;
            if (p.conv_state_is_float)
                static_cast<float*>(p.conv_state)[at] = last[j];
            else
                static_cast<__nv_bfloat16*>(p.conv_state)[at] = __float2bfloat16_rn(last[j]);
        }
    }
}

// Sum of the squares of a head's gated values, by one warp: the order is the same wherever a head is summed.
__device__ __forceinline__ float head_squares(const float* gated, int head_dim) {
    float squares = 0;
    for (int i = threadIdx.x % 32; i < head_dim; i += 32) squares += gated[i] * gated[i];
    for (int offset = 16; offset > 0; offset /= 2) squares += __shfl_xor_sync(~0u, squares, offset);
    return squares;
}

__global__ void __launch_bounds__(128) mamba_norm_kernel(const __grid_constant__ MambaParams p) {
    extern __shared__ float gated[];
    const int group = blockIdx.x, t = blockIdx.y, width = p.inner / p.groups, heads = p.heads / p.groups;
    float* squares = gated + width;  // [heads of the group]
    ptx::await_previous_kernel();
    if (t >= __ldcg(p.row_start + p.sequences)) return;
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        const int c = group * width + i;
        gated[i] =
            cuda::load_bf16(p.y + int64_t{1} * t * p.inner + c) * cuda::silu(cuda::load_bf16(p.u + t * p.u_stride + c));
    }
    __syncthreads();
    for (int h = threadIdx.x / 32; h < heads; h += static_cast<int>(blockDim.x) / 32) {
        const float sum = head_squares(gated + h * p.head_dim, p.head_dim);
        if (threadIdx.x % 32 == 0) squares[h] = sum;
    }
    __syncthreads();
    float total = 0;
    for (int h = 0; h < heads; ++h) total += squares[h];
    const float r = rsqrtf(total / width + p.eps);
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        const int c = group * width + i;
        p.out[t * p.out_stride + c] = __float2bfloat16_rn(cuda::round_bf16(gated[i] * r) * p.norm_weight[c]);
    }
}

constexpr int kMaxTaps = 4, kMaxCluster = 8;

template <int kPerLane>
__global__ void __launch_bounds__(1024) mamba_step_kernel(const __grid_constant__ MambaParams p) {
    extern __shared__ float shared[];
    const int head = blockIdx.x, b = blockIdx.y, cluster = p.heads / p.groups, group = head / cluster;
    const int rank = head % cluster, n = p.state_size, part = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
    const bool active = part < p.head_dim;
    // B first, for it is read in pairs; a thread's channel is x's, B's or C's in this order all the same.
    float *bs = shared, *cs = bs + n, *xs = cs + n, *gated = xs + p.head_dim;
    __shared__ float squares[kMaxCluster];

    // What this step's first kernel found ready, and what belongs to this layer alone, need not be waited for.
    const int row = __ldcg(p.row_start + b), slot = __ldcg(p.slot + b);
    if (__ldcg(p.row_start + b + 1) == row) return ptx::await_previous_kernel();
    const bool fresh = __ldcg(p.context_length + b) == 1;
    float* state = p.ssm_state + ((int64_t{1} * slot * p.heads + head) * p.head_dim + part) * n;
    float s[kPerLane];
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) s[i] = 0;
    if (active && !fresh) {
#pragma unroll
        for (int i = 0; i < kPerLane; i += 2) {
            const float2 v = __ldcg(reinterpret_cast<const float2*>(state + (i / 2 * kLanes + lane) * 2));
            s[i] = v.x, s[i + 1] = v.y;
        }
    }
    // A thread a channel: the head's x, then the group's B and C.
    const int mine = static_cast<int>(threadIdx.x), channels = p.head_dim + 2 * n;
    int channel = 0;
    float taps[kMaxTaps], weights[kMaxTaps], sum = 0;
    if (mine < channels) {
        channel = mine < p.head_dim       ? head * p.head_dim + mine
                  : mine < p.head_dim + n ? p.inner + group * n + mine - p.head_dim
                                          : p.inner + (p.groups - 1 + group) * n + mine - p.head_dim;
        sum = p.conv_bias ? p.conv_bias[channel] : 0.0f;
#pragma unroll
        for (int j = 0; j < kMaxTaps; ++j) {
            weights[j] = j < p.kernel ? p.conv_weight[channel * p.kernel + j] : 0.0f;
            taps[j] = j < p.kernel - 1 && !fresh
                          ? load_conv_state(p, (int64_t{1} * slot * p.channels + channel) * (p.kernel - 1) + j)
                          : 0.0f;
        }
    }
    const float a = -expf(p.a_log[head]), bias = p.dt_bias[head], d = p.d[head];
    const float norm_weight = mine < p.head_dim ? p.norm_weight[head * p.head_dim + mine] : 0.0f;
    ptx::cluster_arrive();

    ptx::await_previous_kernel();
    const __nv_bfloat16* u = p.u + row * p.u_stride;
    const float raw = cuda::load_bf16(u + p.inner + p.channels + head) + bias;
    const float z = mine < p.head_dim ? cuda::load_bf16(u + head * p.head_dim + mine) : 0.0f;
    if (mine < channels) {
        const float input = cuda::load_bf16(u + p.inner + channel);
#pragma unroll
        for (int j = 0; j < kMaxTaps; ++j) {
            if (j == p.kernel - 1) taps[j] = input;
            if (j < p.kernel) sum += weights[j] * taps[j];
        }
        (mine < p.head_dim ? xs + mine : bs + mine - p.head_dim)[0] = cuda::round_bf16(cuda::silu(sum));
    }
    const float dt = fminf(fmaxf(raw > 20.0f ? raw : log1pf(expf(raw)), p.dt_min), p.dt_max), decay = expf(a * dt);
    __syncthreads();
    if (active) {
        const float x = xs[part], step = dt * x;
        float y = 0;
#pragma unroll
        for (int j = 0; j < kPerLane; j += 2) {
            const int at = (j / 2 * kLanes + lane) * 2;
            const float2 bv = *reinterpret_cast<const float2*>(bs + at), cv = *reinterpret_cast<const float2*>(cs + at);
            s[j] = decay * s[j] + step * bv.x;
            s[j + 1] = decay * s[j + 1] + step * bv.y;
            y += s[j] * cv.x;
            y += s[j + 1] * cv.y;
            *reinterpret_cast<float2*>(state + at) = make_float2(s[j], s[j + 1]);
        }
        const unsigned eight = 0xFFu << (threadIdx.x % 32 / kLanes * kLanes);
        for (int offset = kLanes / 2; offset > 0; offset /= 2) y += __shfl_xor_sync(eight, y, offset);
        if (lane == 0) gated[part] = cuda::round_bf16(y + d * x);
    }
    __syncthreads();
    if (mine < p.head_dim) gated[mine] *= cuda::silu(z);
    __syncthreads();
    ptx::cluster_wait();  // all CTAs of the cluster have begun
    if (threadIdx.x < 32) {
        const float head_sum = head_squares(gated, p.head_dim);
        if (mine < cluster) ptx::store_remote(ptx::map_to_rank(&squares[rank], static_cast<uint32_t>(mine)), head_sum);
    }
    ptx::cluster_arrive();
    ptx::cluster_wait();
    if (mine < p.head_dim) {
        float total = 0;
        for (int h = 0; h < cluster; ++h) total += squares[h];
        const float r = rsqrtf(total / (cluster * p.head_dim) + p.eps);
        p.out[row * p.out_stride + head * p.head_dim + mine] =
            __float2bfloat16_rn(cuda::round_bf16(gated[mine] * r) * norm_weight);
    }
    // Every CTA of the group has its taps by now; B's and C's are moved on by the first.
    if (mine < (rank == 0 ? channels : p.head_dim)) {
#pragma unroll
        for (int j = 0; j < kMaxTaps - 1; ++j) {
            if (j >= p.kernel - 1) break;
            const int64_t at = (int64_t{1} * slot * p.channels + channel) * (p.kernel - 1) + j;
            if (p.conv_state_is_float)
                static_cast<float*>(p.conv_state)[at] = taps[j + 1];
            else
                static_cast<__nv_bfloat16*>(p.conv_state)[at] = __float2bfloat16_rn(taps[j + 1]);
        }
    }
}

int step_threads(const MambaParams& p) {
    return (std::max(p.head_dim * kLanes, p.head_dim + 2 * p.state_size) + 31) / 32 * 32;
}
bool fits_step(const MambaArgs& a, const MambaParams& p) {
    const int cluster = p.heads / p.groups;
    return a.sequences.max_rows == 1 && p.kernel <= kMaxTaps && cluster <= kMaxCluster &&
           (cluster & (cluster - 1)) == 0 && step_threads(p) <= 1024;
}

template <int kPerLane>
void launch_kernels(OpContext& context, const MambaArgs& a, const MambaParams& p) {
    const unsigned sequences = static_cast<unsigned>(p.sequences), heads = static_cast<unsigned>(p.heads);
    if (fits_step(a, p)) {
        cuda::launch(mamba_step_kernel<kPerLane>, "mamba_step", context.stream, dim3(heads, sequences),
                     static_cast<unsigned>(step_threads(p)), sizeof(float) * (2 * p.head_dim + 2 * p.state_size),
                     heads / static_cast<unsigned>(p.groups), p);
        return;
    }
    const unsigned rows = static_cast<unsigned>(p.tokens);
    cuda::launch(mamba_conv_kernel, "mamba_conv", context.stream,
                 dim3((static_cast<unsigned>(p.channels) + 255) / 256, rows), 256, 0, 1, p);
    const dim3 grid(heads, sequences, (static_cast<unsigned>(p.head_dim) + kParts - 1) / kParts);
    const size_t scan_shared = sizeof(float) * (2 * kChunk * p.state_size + kChunk * kParts + 2 * kChunk);
    cuda::launch(mamba_scan_kernel<kPerLane>, "mamba_scan", context.stream, grid, kScanThreads, scan_shared, 1, p);
    const size_t norm_shared = sizeof(float) * (p.inner / p.groups + p.heads / p.groups);
    cuda::launch(mamba_norm_kernel, "mamba_norm", context.stream, dim3(static_cast<unsigned>(p.groups), rows), 128,
                 norm_shared, 1, p);
}

int64_t conv_scratch(const MambaArgs& a) {
    return a.u.dim(0) * a.conv_weight.dim(0) * 4;
}

}  // namespace

bool cuda_mamba_accepts(const MambaArgs& a, const device::Device&) {
    const int64_t per_lane = a.state_size / kLanes;
    return a.u.dtype() == DType::bf16 && a.state_size % kLanes == 0 &&
           (per_lane == 2 || per_lane == 4 || per_lane == 8 || per_lane == 16 || per_lane == 32) && a.conv_kernel <= 9;
}

int64_t cuda_mamba_scratch_bytes(const MambaArgs& a, const device::Device&) {
    return conv_scratch(a) + 512 + a.u.dim(0) * a.heads * a.head_dim * 2;
}

void run_cuda_mamba(OpContext& context, const MambaArgs& a) {
    const int tokens = static_cast<int>(a.u.dim(0));
    MambaParams p{.u = a.u.as<__nv_bfloat16>(),
                  .u_stride = a.u.row_stride(),
                  .conv_weight = a.conv_weight.as<float>(),
                  .conv_bias = a.conv_bias.as<float>(),
                  .a_log = a.a_log.as<float>(),
                  .d = a.d.as<float>(),
                  .dt_bias = a.dt_bias.as<float>(),
                  .norm_weight = a.norm_weight.as<float>(),
                  .conv_state = a.conv_state.data(),
                  .conv_state_is_float = a.conv_state.dtype() == DType::f32,
                  .ssm_state = a.ssm_state.as<float>(),
                  .conv = reinterpret_cast<float*>(context.arena->allocate_bytes(conv_scratch(a))),
                  .y = context.arena->allocate(DType::bf16, {tokens, a.heads * a.head_dim}).as<__nv_bfloat16>(),
                  .out = a.out.as<__nv_bfloat16>(),
                  .out_stride = a.out.row_stride(),
                  .row_start = a.sequences.row_start.as<int32_t>(),
                  .context_length = a.sequences.context_length.as<int32_t>(),
                  .slot = a.sequences.slot.as<int32_t>(),
                  .sequences = static_cast<int>(a.sequences.count),
                  .tokens = tokens,
                  .inner = static_cast<int>(a.heads * a.head_dim),
                  .channels = static_cast<int>(a.conv_weight.dim(0)),
                  .heads = static_cast<int>(a.heads),
                  .head_dim = static_cast<int>(a.head_dim),
                  .groups = static_cast<int>(a.groups),
                  .state_size = static_cast<int>(a.state_size),
                  .kernel = static_cast<int>(a.conv_kernel),
                  .eps = a.eps,
                  .dt_min = a.dt_min,
                  .dt_max = a.dt_max};
    switch (p.state_size / kLanes) {
        case 2:
            return launch_kernels<2>(context, a, p);
        case 4:
            return launch_kernels<4>(context, a, p);
        case 8:
            return launch_kernels<8>(context, a, p);
        case 16:
            return launch_kernels<16>(context, a, p);
        default:
            return launch_kernels<32>(context, a, p);
    }
}

}  // namespace nibble::ops
