// The table of op moe, its cost, and its entry.
#include "ops/moe/moe.h"

#include "ops/element.h"
#include "ops/input_observer.h"
#include "ops/moe/activation.h"
#include "ops/moe/cpu_rows.h"
#include "ops/moe/cuda_rows.h"
#include "ops/moe/expert_counts.h"
#include "ops/norm/norm.h"

#include <utility>
#include <vector>

namespace nibble::ops {

namespace {

constexpr Row<MoeArgs> kRows[] = {
#ifdef NIBBLE_HAVE_CUDA
    {.name = "cuda_stream",
     .arch = Arch::cuda_any,
     .accepts = stream_moe_accepts,
     .scratch_bytes = stream_moe_scratch_bytes,
     .run = run_stream_moe},
#endif
    {.name = "avx512_bf16",
     .arch = Arch::cpu,
     .accepts = accepts_moe_avx512_bf16,
     .scratch_bytes = scratch_moe_avx512_bf16,
     .run = moe_avx512_bf16},
    {.name = "simd",
     .arch = Arch::cpu,
     .accepts = accepts_moe_simd,
     .scratch_bytes = scratch_moe_simd,
     .run = moe_simd},
    {.name = "ref", .arch = Arch::cpu, .accepts = nullptr, .scratch_bytes = nullptr, .run = moe_ref},
};

double distinct_experts(const OpContext& context, const MoeArgs& a) {
    static const RoutingModel uniform;
    const RoutingModel& routing = context.routing != nullptr ? *context.routing : uniform;
    return routing.distinct_experts(context.module, a.up.count, a.top_k, a.x.dim(0));
}

Cost cost(const OpContext& context, const MoeArgs& a) {
    const int64_t tokens = a.x.dim(0);
    const double distinct = distinct_experts(context, a);
    const double expert_bytes = static_cast<double>(a.up.first.stored_bytes + a.down.first.stored_bytes);
    const auto products = [](const Weight& w) { return static_cast<double>(w.n) * static_cast<double>(w.k); };
    const double per_token = products(a.router) + products(a.shared_up) + products(a.shared_down) +
                             products(a.shared_gate) +
                             static_cast<double>(a.top_k) * (products(a.up.first) + products(a.down.first));
    return Cost{.weight_bytes = a.router.stored_bytes + a.correction_bias.bytes() + a.norm_weight.bytes() +
                                a.shared_up.stored_bytes + a.shared_down.stored_bytes + a.shared_gate.stored_bytes +
                                static_cast<int64_t>(distinct * expert_bytes),
                .activation_bytes = a.x.bytes() + a.y.bytes() + a.residual.bytes(),
                .operations = 2.0 * static_cast<double>(tokens) * per_token,
                .distinct_experts = distinct};
}

std::string shape(const MoeArgs& a) {
    return fmt::format("T={} E={} K={} H={} F={} S={}", a.x.dim(0), a.up.count, a.top_k, a.x.dim(1), a.down.first.k,
                       a.shared_down.k);
}

std::string format(const MoeArgs& a) {
    return std::string(name(a.up.first.format));
}

std::vector<WeightRead> weights(const OpContext& context, const MoeArgs& a) {
    using enum WeightRead::Role;
    std::vector<WeightRead> reads = {read_of(a.router, router)};
    for (const Weight* shared : {&a.shared_up, &a.shared_down, &a.shared_gate})
        if (!shared->empty()) reads.push_back(read_of(*shared, shared_expert));
    for (const Experts* experts : {&a.up, &a.down}) {
        WeightRead routed = read_of(experts->first, routed_experts);
        routed.count = experts->count;
        routed.read = distinct_experts(context, a);
        reads.push_back(std::move(routed));
    }
    if (!a.norm_weight.empty()) reads.push_back(read_of_norm(a.norm_weight));
    return reads;
}

}  // namespace

constinit const Op<MoeArgs> kMoe{.name = "moe",
                                 .rows = kRows,
                                 .cost = cost,
                                 .shape = shape,
                                 .format = format,
                                 .module = nullptr,
                                 .weights = weights};

WeightLayout router_layout(WeightFormat format, int64_t n, int64_t k, const device::Device& device) {
    return device.is_cpu() ? preferred_layout(format, n, k, device) : WeightLayout::row_major;
}

void moe(OpContext& context, const MoeArgs& a) {
    const int64_t width = a.x.dim(1), experts = a.up.count, factor = is_gated(a.activation) ? 2 : 1;
    CHECK(a.x.rank() == 2 && is_activation(a.x.dtype()), "x is {}", a.x.describe());
    CHECK(a.y.rank() == 2 && a.y.dim(0) == a.x.dim(0) && a.y.dim(1) == width &&
              (a.y.dtype() == a.x.dtype() || a.y.dtype() == DType::f32),
          "y is {}", a.y.describe());
    CHECK(a.residual.empty() ||
              (a.residual.dim(0) == a.x.dim(0) && a.residual.dim(1) == width && a.residual.dtype() == a.y.dtype()),
          "residual is {}", a.residual.describe());
    CHECK(experts > 0 && a.down.count == experts && a.router.n == experts && a.router.k == width && a.top_k > 0 &&
              a.top_k <= experts,
          "{} experts up, {} down, router [{}, {}], top {}", experts, a.down.count, a.router.n, a.router.k, a.top_k);
    CHECK(a.up.first.k == width && a.down.first.n == width && a.up.first.n == factor * a.down.first.k,
          "up [{}, {}], down [{}, {}]", a.up.first.n, a.up.first.k, a.down.first.n, a.down.first.k);
    CHECK(a.up.scales.elements() == experts && a.down.scales.elements() == experts &&
          (a.correction_bias.empty() || a.correction_bias.elements() == experts));
    CHECK(a.expert_groups > 0 && experts % a.expert_groups == 0 && a.top_groups > 0 &&
              a.top_groups <= a.expert_groups && a.top_k <= experts / a.expert_groups * a.top_groups,
          "{} of {} groups of {} experts", a.top_groups, a.expert_groups, experts);
    CHECK(a.shared_up.empty() == a.shared_down.empty() &&
          (a.shared_up.empty() ||
           (a.shared_up.k == width && a.shared_down.n == width && a.shared_up.n == factor * a.shared_down.k)));
    CHECK(a.shared_gate.empty() || (a.shared_gate.n == 1 && a.shared_gate.k == width && !a.shared_up.empty()));
    CHECK(a.expert_tokens.empty() || (a.expert_tokens.dtype() == DType::i32 && a.expert_tokens.elements() == experts));
    if (a.x.dim(0) == 0) return;
    if (context.expert_counts != nullptr && !context.recording() && a.expert_tokens.empty()) {
        MoeArgs counted = a;
        counted.expert_tokens = context.expert_counts->of(context.module);
        if (!counted.expert_tokens.empty()) return moe(context, counted);
    }
    observe_input(context, a.up.first.name, a.x, a.norm_weight, a.norm_eps);
    if (!a.shared_up.empty()) observe_input(context, a.shared_up.name, a.x, a.norm_weight, a.norm_eps);
    if (!a.norm_weight.empty() && context.device->is_cpu()) {  // the CPU's rows take a normed input
        device::ArenaScope scope(*context.arena);
        MoeArgs plain = a;
        plain.x = context.allocate(a.x.dtype(), {a.x.dim(0), width});
        plain.norm_weight = {};
        rms_norm(context, {.x = a.x, .weight = a.norm_weight, .y = plain.x, .eps = a.norm_eps});
        dispatch(context, kMoe, plain);
        return;
    }
    dispatch(context, kMoe, a);
}

}  // namespace nibble::ops
