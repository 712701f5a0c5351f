// Routing: which experts each token takes, and which tokens each expert has. Host code of the CPU rows.
#pragma once

#include "ops/moe/moe.h"

#include <cstdint>
#include <span>

namespace nibble::ops {

struct Choice {
    int32_t expert;
    float weight;
};

// Working memory for one token at a time: size(E) floats.
struct RoutingScratch {
    static constexpr int64_t size(int64_t experts) { return 5 * experts; }
    RoutingScratch(float* memory, int64_t experts)
        : score(memory),
          choice(memory + experts),
          group_score(memory + 2 * experts),
          order(reinterpret_cast<int32_t*>(memory + 3 * experts)),
          group_order(reinterpret_cast<int32_t*>(memory + 4 * experts)) {}

    float *score, *choice, *group_score;
    int32_t *order, *group_order;
};

// The top_k experts of a token from its E router logits, in ascending order.
void route_token(const MoeArgs& a, const float* logits, const RoutingScratch& scratch, Choice* chosen);

// Choices of T tokens grouped by expert: slots, expert by expert, tokens ascending.
struct Routing {
    std::span<Choice> choices;        // [T * top_k], token-major
    std::span<int32_t> expert_begin;  // [E + 1]: expert e has slots [expert_begin[e], expert_begin[e + 1])
    std::span<int32_t> slot_token;    // [T * top_k]
    std::span<float> slot_weight;     // [T * top_k]

    void group(int64_t tokens, int64_t top_k);
};

}  // namespace nibble::ops
