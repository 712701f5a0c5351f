// Plan: the memory of a server in bytes, line by line, before anything is allocated.
//
// Computed from sizes that are known (weights as packed, pages, slots, scratch of the recorded Program), never from a
// difference of two readings. All arithmetic is unsigned and checked. Pure.
#pragma once

#include "base/result.h"
#include "device/device.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace nibble::cli {

struct PlanInput {
    device::MemoryReading memory;  // of the device, before anything was allocated
    bool host_memory = true;       // the device's memory is where everybody else's programs live
    std::string device_name;

    uint64_t weight_bytes = 0;
    uint64_t page_bytes = 0, page_size = 0;  // page_bytes 0: no attention layer
    uint64_t slot_bytes = 0;                 // 0: no recurrent layer
    uint64_t model_context = 0;
    // Activations, scratch and logits of the largest step with so many sequences and so long a context.
    std::function<uint64_t(uint64_t sequences, uint64_t context)> step_bytes;

    // What a GPU's driver takes for the steps that are captured, at most; null: nothing.
    std::function<uint64_t(uint64_t sequences, uint64_t context)> graph_bytes;
    uint64_t context_bytes = 0;  // of the CUDA context, where the reading was not taken behind it

    std::optional<uint64_t> budget_bytes;  // --memory-budget
    std::optional<uint64_t> share_bytes;   // --gpu-memory-utilization: no more than this, nor than there is
    std::optional<uint64_t> kv_bytes;      // --kv-cache-memory
    std::optional<uint64_t> context;       // --max-model-len
    std::optional<uint64_t> sequences;     // --max-num-seqs
    uint64_t default_sequences = 64;
};

struct Plan {
    struct Line {
        std::string what;  // "keys and values"
        uint64_t bytes = 0;
        std::string sum;  // "512 pages of 16 tokens, 360.0 KiB each"
    };
    std::vector<Line> lines;
    uint64_t total_bytes = 0, budget_bytes = 0;
    std::string budget_sum;  // "15.2 GiB available less 1.3 GiB for the host"
    uint64_t reserve_bytes = 0;
    std::string reserve_sum;  // whom it is left to

    int64_t context = 0, sequences = 0;  // what a request may have, and how many run at once
    int64_t pages = 0, slots = 0;
};

// Context and sequences that were not given are the largest that fit. Errors: does_not_fit, with every line and what to
// change; device_unusable when the reading contradicts itself, with both numbers; usage when a flag alone is
// impossible.
Result<Plan> make_plan(const PlanInput& input);

// How long a context may be for so many sequences at once.
struct Fit {
    uint64_t sequences = 0;
    uint64_t each = 0;   // tokens, when all of them are that long; 0: not even the shortest
    uint64_t alone = 0;  // when one is long and the others are just begun
};
// What fits below the budget, for each number of sequences; --max-model-len and --max-num-seqs bound nothing here.
// Errors: as make_plan, for the reading and the budget.
Result<std::vector<Fit>> longest_contexts(const PlanInput& input, std::span<const uint64_t> sequences);

// The lines, their sum and the budget, aligned, each line ended by a newline.
std::string describe(const Plan& plan);

}  // namespace nibble::cli
