// mamba on a GPU: three kernels, the same for a token and for a prompt.
//   conv   a thread a row and channel: the taps are the sequence's earlier rows, or its conv_state before them
//   scan   a CTA a (sequence, head, part of P): the state stays in registers while the rows go by in chunks through
//          shared memory; eight lanes share a row of the state; then the sequence's new conv_state
//   norm   a CTA a row and group: gate, sum of squares, scale
// The recurrence is taken row by row, so a chunk's cut changes nothing. Bound: the state's bytes for a token, the rows'
// latency (about 80 cycles each) for a prompt.
#include "ops/cuda/elements.cuh"
#include "ops/cuda/launch.h"
#include "ops/cuda/ptx.cuh"
#include "ops/mamba/mamba.h"

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

__device__ int sequence_of_row(const MambaParams& p, int t) {
    int low = 0, high = p.sequences;  // row_start[low] <= t < row_start[high]
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (__ldcg(p.row_start + middle) <= t)
            low = middle;
        else
            high = middle;
    }
    return low;
}

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
    ptx::launch_dependents();
    const int t = blockIdx.y, c = blockIdx.x * blockDim.x + threadIdx.x;
    ptx::grid_dependency_wait();
    if (c >= p.channels || t >= __ldcg(p.row_start + p.sequences)) return;
    const int b = sequence_of_row(p, t), first = __ldcg(p.row_start + b), rows = __ldcg(p.row_start + b + 1) - first;
    const bool fresh = __ldcg(p.context_length + b) == rows;
    const int slot = __ldcg(p.slot + b);
    float sum = p.conv_bias ? p.conv_bias[c] : 0.0f;
    for (int j = 0; j < p.kernel; ++j)
        sum += p.conv_weight[c * p.kernel + j] * conv_input(p, first, t - first - (p.kernel - 1) + j, c, slot, fresh);
    p.conv[int64_t{1} * t * p.channels + c] = cuda::round_bf16(cuda::silu(sum));
}

template <int kPerLane>
__global__ void __launch_bounds__(kScanThreads) mamba_scan_kernel(const __grid_constant__ MambaParams p) {
    ptx::launch_dependents();
    const int head = blockIdx.x, b = blockIdx.y, part = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
    const int row_p = blockIdx.z * kParts + part;
    const bool active = row_p < p.head_dim;
    extern __shared__ float shared[];
    const int n = p.state_size;
    float *bs = shared, *cs = bs + kChunk * n, *xs = cs + kChunk * n;
    float *dts = xs + kChunk * kParts, *decays = dts + kChunk;
    const float a = -expf(p.a_log[head]), bias = p.dt_bias[head], d = p.d[head];
    const int group = head / (p.heads / p.groups);

    ptx::grid_dependency_wait();
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

__global__ void __launch_bounds__(128) mamba_norm_kernel(const __grid_constant__ MambaParams p) {
    ptx::launch_dependents();
    extern __shared__ float gated[];
    __shared__ float scratch[32];
    const int group = blockIdx.x, t = blockIdx.y, width = p.inner / p.groups;
    ptx::grid_dependency_wait();
    if (t >= __ldcg(p.row_start + p.sequences)) return;
    float squares = 0;
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        const int c = group * width + i;
        const float v =
            cuda::load_bf16(p.y + int64_t{1} * t * p.inner + c) * cuda::silu(cuda::load_bf16(p.u + t * p.u_stride + c));
        gated[i] = v;
        squares += v * v;
    }
    const float r = rsqrtf(cuda::block_sum(squares, scratch) / width + p.eps);
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        const int c = group * width + i;
        p.out[t * p.out_stride + c] = __float2bfloat16_rn(cuda::round_bf16(gated[i] * r) * p.norm_weight[c]);
    }
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
    const unsigned rows = static_cast<unsigned>(tokens);
    cuda::launch(mamba_conv_kernel, "mamba_conv", context.stream,
                 dim3((static_cast<unsigned>(p.channels) + 255) / 256, rows), 256, 0, 1, p);
    const dim3 grid(static_cast<unsigned>(p.heads), static_cast<unsigned>(p.sequences),
                    (static_cast<unsigned>(p.head_dim) + kParts - 1) / kParts);
    const size_t shared = sizeof(float) * (2 * kChunk * p.state_size + kChunk * kParts + 2 * kChunk);
    switch (p.state_size / kLanes) {
        case 2:
            cuda::launch(mamba_scan_kernel<2>, "mamba_scan", context.stream, grid, kScanThreads, shared, 1, p);
            break;
        case 4:
            cuda::launch(mamba_scan_kernel<4>, "mamba_scan", context.stream, grid, kScanThreads, shared, 1, p);
            break;
        case 8:
            cuda::launch(mamba_scan_kernel<8>, "mamba_scan", context.stream, grid, kScanThreads, shared, 1, p);
            break;
        case 16:
            cuda::launch(mamba_scan_kernel<16>, "mamba_scan", context.stream, grid, kScanThreads, shared, 1, p);
            break;
        default:
            cuda::launch(mamba_scan_kernel<32>, "mamba_scan", context.stream, grid, kScanThreads, shared, 1, p);
            break;
    }
    cuda::launch(mamba_norm_kernel, "mamba_norm", context.stream, dim3(static_cast<unsigned>(p.groups), rows), 128,
                 sizeof(float) * (p.inner / p.groups), 1, p);
}

}  // namespace nibble::ops
