// The CPU rows of op moe on cpu_rows16 weights.
//
// Every expert that some token chose is read once for all its tokens. Tokens, at most kStepTokens at a time, pass these
// loops of the crew, in which units are drawn from a counter (experts have different numbers of tokens):
//   router, shared up and shared gate  ->  choose  ->  pack experts' tokens  ->  up  ->  activate  ->  down and add
// In the last one a unit is a range of output rows, through all experts in ascending order and the shared expert last:
// that is the contract's order of summation, and no two threads meet.
#include "ops/linear/finish.h"
#include "ops/linear/panel.h"
#include "ops/linear/rows16.h"
#include "ops/moe/activation.h"
#include "ops/moe/activation_row.h"
#include "ops/moe/cpu_rows.h"
#include "ops/moe/routing.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <type_traits>

namespace nibble::ops {
namespace {

constexpr int64_t kStepTokens = 512;   // bounds the scratch
constexpr int64_t kRoutingParts = 16;  // tokens are routed in as many parts
constexpr int64_t kMaxUnitBlocks = 8;  // row blocks a unit: about 200 KB of nvfp4

template <class T>
std::span<T> take(device::Arena& arena, int64_t count) {
    return {reinterpret_cast<T*>(arena.allocate_bytes(count * static_cast<int64_t>(sizeof(T)))),
            static_cast<size_t>(count)};
}

// Row blocks a unit when there are `blocks` in all: enough units to keep the crew even, no more.
int64_t unit_blocks(const OpContext& context, int64_t blocks) {
    return std::clamp<int64_t>(blocks / (workers(context) * 16), 1, kMaxUnitBlocks);
}

// One matrix of the layer's and the tokens that it multiplies.
struct Product {
    Weight weight;
    const RowKernel* kernel;
    TokenBlocks blocks;
    const std::byte* panel;
    float* sums;         // [tokens][weight.n padded to 16]
    int64_t expert = 0;  // of a routed expert, and its first slot
    int64_t slot = 0;

    int64_t stride() const { return round_up(weight.n, kBlockRows); }
    int64_t row_blocks() const { return ops::row_blocks(weight.n); }
    // Row blocks [begin, end) for all tokens.
    void run(int64_t begin, int64_t end) const {
        alignas(64) float part[kMaxTokenBlock * kMaxUnitBlocks * kBlockRows];
        const int64_t part_stride = (end - begin) * kBlockRows;
        for (int64_t i = 0; i < blocks.count; ++i) {
            kernel->multiply(weight, begin, end, panel + i * blocks.block_bytes, blocks.width, part, part_stride);
            for (int64_t t = blocks.begin(i); t < blocks.end(i); ++t)
                std::copy_n(part + (t - blocks.begin(i)) * part_stride, part_stride,
                            sums + t * stride() + begin * kBlockRows);
        }
    }
};

static_assert(std::is_trivially_copyable_v<Product>);  // lives in the arena

// All units of several products, one after the other.
void run_products(OpContext& context, std::span<const Product> products) {
    int64_t total = 0;
    for (const Product& p : products) total += p.row_blocks();
    const int64_t size = unit_blocks(context, total);
    const auto units = [&](const Product& p) { return (p.row_blocks() + size - 1) / size; };
    int64_t count = 0;
    for (const Product& p : products) count += units(p);
    draw(context, count, [&](int64_t unit) {
        for (const Product& p : products) {
            if (unit < units(p)) return p.run(unit * size, std::min((unit + 1) * size, p.row_blocks()));
            unit -= units(p);
        }
    });
}

class Layer {
public:
    // Takes all scratch for `tokens` tokens from the arena (which may only be measuring).
    Layer(device::Arena& arena, const MoeArgs& a, const RowKernel& kernel, int64_t tokens)
        : a_(a),
          kernel_(kernel),
          tokens_(tokens),
          width_(a.x.dim(1)),
          hidden_(a.down.first.k),
          shared_hidden_(a.shared_down.k),
          experts_(a.up.count),
          slots_(tokens * a.top_k) {
        const bool shared = !a.shared_up.empty();
        x_blocks_ = TokenBlocks(kernel, width_, tokens);
        x_panel_ = take<std::byte>(arena, x_blocks_.panel_bytes());
        router_kernel_ = kernel_for(a.router);
        gate_kernel_ = kernel_for(a.shared_gate);
        if (router_kernel_ != &kernel || gate_kernel_ != &kernel)
            float_panel_ = take<std::byte>(arena, TokenBlocks(*rows16_simd(), width_, tokens).panel_bytes());
        logits_ = take<float>(arena, tokens * round_up(experts_, kBlockRows));
        gate_ = take<float>(arena, a.shared_gate.empty() ? 0 : tokens * kBlockRows);
        routing_ = {.choices = take<Choice>(arena, slots_),
                    .expert_begin = take<int32_t>(arena, experts_ + 1),
                    .slot_token = take<int32_t>(arena, slots_),
                    .slot_weight = take<float>(arena, slots_)};
        // Columns of panels are padded to a kernel's widths: never to more than twice the slots.
        columns_ = tokens == 1 ? slots_ : 2 * slots_;
        if (tokens > 1) expert_panel_ = take<std::byte>(arena, kernel.panel_block_bytes(width_, 1) * columns_);
        hidden_panel_ = take<std::byte>(arena, kernel.panel_block_bytes(hidden_, 1) * columns_);
        sums_ = take<float>(arena, slots_ * round_up(a.up.first.n, kBlockRows));
        const int64_t element = numeric::size_bytes(a.x.dtype());
        hidden_rows_ = take<std::byte>(arena, slots_ * hidden_ * element);
        products_ = take<Product>(arena, std::min(slots_, experts_) + 3);
        if (shared) {
            shared_blocks_ = TokenBlocks(kernel, shared_hidden_, tokens);
            shared_panel_ = take<std::byte>(arena, shared_blocks_.panel_bytes());
            shared_sums_ = take<float>(arena, tokens * round_up(a.shared_up.n, kBlockRows));
            shared_rows_ = take<std::byte>(arena, tokens * shared_hidden_ * element);
        }
        total_ = take<float>(arena, tokens * round_up(width_, kBlockRows));
        routing_scratch_ = take<float>(arena, std::min(tokens, kRoutingParts) * RoutingScratch::size(experts_));
    }

    void run(OpContext& context, int64_t first_token) {
        x_ = a_.x.rows(first_token, first_token + tokens_);
        choose(context);
        gather(context);
        run_products(context, expert_products());
        activate(context);
        add_up(context, first_token);
    }

private:
    const RowKernel* kernel_for(const Weight& weight) const {
        return weight.format == WeightFormat::f32 ? rows16_simd() : &kernel_;
    }

    // Router logits and what the shared expert does to every token; then the choices.
    void choose(OpContext& context) {
        pack_panel(context, kernel_, x_blocks_, x_, nullptr, x_panel_.data());
        const TokenBlocks float_blocks(*rows16_simd(), width_, tokens_);
        if (!float_panel_.empty()) pack_panel(context, *rows16_simd(), float_blocks, x_, nullptr, float_panel_.data());
        const auto product = [&](const Weight& weight, const RowKernel* kernel, std::span<float> sums) {
            const bool same = kernel == &kernel_;
            return Product{.weight = weight,
                           .kernel = kernel,
                           .blocks = same ? x_blocks_ : float_blocks,
                           .panel = same ? x_panel_.data() : float_panel_.data(),
                           .sums = sums.data()};
        };
        size_t count = 0;
        products_[count++] = product(a_.router, router_kernel_, logits_);
        if (!a_.shared_gate.empty()) products_[count++] = product(a_.shared_gate, gate_kernel_, gate_);
        if (!a_.shared_up.empty()) products_[count++] = product(a_.shared_up, &kernel_, shared_sums_);
        run_products(context, products_.first(count));

        const int64_t parts = std::min(tokens_, kRoutingParts);
        share(context, parts, tokens_ * experts_ * 8, [&](int64_t begin, int64_t end) {
            for (int64_t part = begin; part < end; ++part) {
                const RoutingScratch scratch(routing_scratch_.data() + part * RoutingScratch::size(experts_), experts_);
                for (int64_t t = tokens_ * part / parts; t < tokens_ * (part + 1) / parts; ++t)
                    route_token(a_, logits_.data() + t * round_up(experts_, kBlockRows), scratch,
                                routing_.choices.data() + t * a_.top_k);
            }
        });
        routing_.group(tokens_, a_.top_k);
        if (!a_.expert_tokens.empty())
            for (int64_t e = 0; e < experts_; ++e)
                a_.expert_tokens.as<int32_t>()[e] += routing_.expert_begin[e + 1] - routing_.expert_begin[e];
    }

    // A product for every expert with tokens, in ascending order, and their panels.
    void gather(OpContext& context) {
        experts_used_ = 0;
        int64_t column = 0;
        for (int64_t e = 0; e < experts_; ++e) {
            const int64_t begin = routing_.expert_begin[e], count = routing_.expert_begin[e + 1] - begin;
            if (count == 0) continue;
            const TokenBlocks blocks(kernel_, width_, count);
            products_[experts_used_++] = {
                .weight = a_.up.expert(e, a_.up.scales.as<const float>()[e]),
                .kernel = &kernel_,
                .blocks = blocks,
                .panel = tokens_ == 1 ? x_panel_.data()
                                      : expert_panel_.data() + column * kernel_.panel_block_bytes(width_, 1),
                .sums = sums_.data() + begin * round_up(a_.up.first.n, kBlockRows),
                .expert = e,
                .slot = begin};
            column += blocks.count * blocks.width;
        }
        CHECK(column <= columns_);
        if (tokens_ == 1) return;
        share(context, experts_used_, slots_ * width_, [&](int64_t begin, int64_t end) {
            OpContext alone;  // each panel by one thread
            for (int64_t i = begin; i < end; ++i) {
                const Product& p = products_[i];
                pack_panel(alone, kernel_, p.blocks, x_, routing_.slot_token.data() + p.slot,
                           const_cast<std::byte*>(p.panel));
            }
        });
    }

    std::span<const Product> expert_products() const { return products_.first(experts_used_); }

    // Sums of up -> rows of hidden values -> panels for down, block of tokens by block of tokens.
    void activate(OpContext& context) {
        int64_t column = 0;
        // Where each expert's hidden panel begins; kept in the product for down.
        for (int64_t i = 0; i < experts_used_; ++i) {
            Product& p = products_[i];
            p.panel = hidden_panel_.data() + column * kernel_.panel_block_bytes(hidden_, 1);
            column += p.blocks.count * p.blocks.width;
        }
        const int64_t shared = a_.shared_up.empty() ? 0 : 1;
        const auto one = [&](int64_t i) {
            if (i == experts_used_)
                return activate_rows(shared_sums_.data(), a_.shared_up.n, shared_hidden_, shared_rows_.data(),
                                     shared_blocks_, shared_panel_.data());
            const Product& p = products_[i];
            activate_rows(p.sums, p.weight.n, hidden_,
                          hidden_rows_.data() + p.slot * hidden_ * numeric::size_bytes(a_.x.dtype()),
                          TokenBlocks(kernel_, hidden_, p.blocks.tokens), const_cast<std::byte*>(p.panel));
        };
        share(context, experts_used_ + shared, slots_ * hidden_ + shared * tokens_ * shared_hidden_,
              [&](int64_t begin, int64_t end) {
                  for (int64_t i = begin; i < end; ++i) one(i);
              });
    }

    void activate_rows(const float* sums, int64_t n, int64_t hidden, std::byte* rows, const TokenBlocks& blocks,
                       std::byte* panel) const {
        const DType dtype = a_.x.dtype();
        const int64_t up = is_gated(a_.activation) ? hidden : 0;
        const Tensor all(rows, dtype, {blocks.tokens, hidden});
        for (int64_t t = 0; t < blocks.tokens; ++t) {
            const float* from = sums + t * round_up(n, kBlockRows);
            activate_sums(a_.activation, from, from + up, hidden, dtype, all.row(t));
        }
        OpContext alone;
        pack_panel(alone, kernel_, blocks, all, nullptr, panel);
    }

    // y = Σ w_e down_e · hidden_e, the shared expert last; then rounding and residual.
    void add_up(OpContext& context, int64_t first_token) {
        const int64_t blocks = row_blocks(width_), size = unit_blocks(context, blocks);
        draw(context, (blocks + size - 1) / size, [&](int64_t unit) {
            const int64_t begin = unit * size, end = std::min(begin + size, blocks), first = begin * kBlockRows;
            const int64_t stride = round_up(width_, kBlockRows), count = (end - begin) * kBlockRows;
            for (int64_t t = 0; t < tokens_; ++t) std::fill_n(total_.data() + t * stride + first, count, 0.0f);
            for (const Product& p : expert_products()) {
                add_product(a_.down.expert(p.expert, a_.down.scales.as<const float>()[p.expert]), begin, end,
                            TokenBlocks(kernel_, hidden_, p.blocks.tokens), p.panel, [&](int64_t i) {
                                return std::pair(int64_t{routing_.slot_token[p.slot + i]},
                                                 routing_.slot_weight[p.slot + i]);
                            });
            }
            if (!a_.shared_down.empty())
                add_product(a_.shared_down, begin, end, shared_blocks_, shared_panel_.data(),
                            [&](int64_t t) { return std::pair(t, gate_.empty() ? 1.0f : shared_weight(t)); });
            const int64_t rows = std::min(end * kBlockRows, width_) - first;
            for (int64_t t = 0; t < tokens_; ++t)
                finish_row(total_.data() + t * stride + first, rows, first, {}, a_.residual, a_.y, first_token + t);
        });
    }

    float shared_weight(int64_t t) const {
        return static_cast<float>(1.0 / (1.0 + std::exp(-double(gate_[t * kBlockRows]))));
    }

    // token_and_weight(i): the token that column i belongs to, and the factor of its sums.
    template <class TokenAndWeight>
    void add_product(const Weight& weight, int64_t begin, int64_t end, const TokenBlocks& blocks,
                     const std::byte* panel, const TokenAndWeight& token_and_weight) {
        alignas(64) float part[kMaxTokenBlock * kMaxUnitBlocks * kBlockRows];
        const int64_t stride = (end - begin) * kBlockRows;
        for (int64_t i = 0; i < blocks.count; ++i) {
            kernel_.multiply(weight, begin, end, panel + i * blocks.block_bytes, blocks.width, part, stride);
            for (int64_t c = blocks.begin(i); c < blocks.end(i); ++c) {
                const auto [t, factor] = token_and_weight(c);
                add_scaled(part + (c - blocks.begin(i)) * stride, factor, stride,
                           total_.data() + t * round_up(width_, kBlockRows) + begin * kBlockRows);
            }
        }
    }

    const MoeArgs& a_;
    const RowKernel& kernel_;
    int64_t tokens_, width_, hidden_, shared_hidden_, experts_, slots_, columns_ = 0, experts_used_ = 0;
    Tensor x_;
    TokenBlocks x_blocks_, shared_blocks_;
    const RowKernel *router_kernel_, *gate_kernel_;
    Routing routing_;
    std::span<Product> products_;
    std::span<std::byte> x_panel_, float_panel_, expert_panel_, hidden_panel_, hidden_rows_, shared_panel_,
        shared_rows_;
    std::span<float> logits_, gate_, sums_, shared_sums_, total_, routing_scratch_;
};

void run(OpContext& context, const MoeArgs& a, const RowKernel& kernel) {
    for (int64_t first = 0; first < a.x.dim(0); first += kStepTokens) {
        device::ArenaScope scope(*context.arena);
        Layer(*context.arena, a, kernel, std::min(kStepTokens, a.x.dim(0) - first)).run(context, first);
    }
}

int64_t scratch(const MoeArgs& a, const RowKernel& kernel) {
    device::Arena measuring;
    Layer(measuring, a, kernel, std::min(kStepTokens, a.x.dim(0)));
    return measuring.peak_bytes();
}

bool all_rows16(const MoeArgs& a) {
    for (const Weight* w : {&a.router, &a.up.first, &a.down.first, &a.shared_up, &a.shared_down, &a.shared_gate})
        if (!w->empty() && w->layout != WeightLayout::cpu_rows16) return false;
    return true;
}

}  // namespace

bool accepts_moe_avx512_bf16(const MoeArgs& a, const device::Device&) {
    for (const Weight* w : {&a.up.first, &a.down.first, &a.shared_up, &a.shared_down})
        if (!w->empty() && w->format == WeightFormat::f32) return false;
    return all_rows16(a) && a.x.dtype() == DType::bf16 && rows16_avx512_bf16() != nullptr;
}
int64_t scratch_moe_avx512_bf16(const MoeArgs& a, const device::Device&) {
    return scratch(a, *rows16_avx512_bf16());
}
void moe_avx512_bf16(OpContext& context, const MoeArgs& a) {
    run(context, a, *rows16_avx512_bf16());
}

bool accepts_moe_simd(const MoeArgs& a, const device::Device&) {
    return all_rows16(a);
}
int64_t scratch_moe_simd(const MoeArgs& a, const device::Device&) {
    return scratch(a, *rows16_simd());
}
void moe_simd(OpContext& context, const MoeArgs& a) {
    run(context, a, *rows16_simd());
}

}  // namespace nibble::ops
