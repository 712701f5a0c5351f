#include "cli/memory_plan.h"

#include "base/bytes.h"
#include "cli/memory_ledger.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace nibble::cli {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20, kGiB = uint64_t{1} << 30;
constexpr uint64_t kMostPages = std::numeric_limits<int32_t>::max();  // pages and slots are numbered in 32 bits
constexpr uint64_t kLeastContext = 256;                               // less is no server

uint64_t round_up(uint64_t a, uint64_t b) {
    return a / b + (a % b != 0);
}

// A sum that remembers that it overflowed: then it is larger than any budget, which is what it means.
class Total {
public:
    void add(uint64_t bytes) {
        const auto sum = checked_add(bytes_, bytes);
        bytes_ = sum.value_or(std::numeric_limits<uint64_t>::max());
    }
    uint64_t bytes() const { return bytes_; }

private:
    uint64_t bytes_ = 0;
};

uint64_t times(uint64_t a, uint64_t b) {
    return checked_multiply(a, b).value_or(std::numeric_limits<uint64_t>::max());
}

// What is left to everybody else on the device.
uint64_t reserve_bytes(const PlanInput& input) {
    const uint64_t share = static_cast<uint64_t>(input.memory.total_bytes) / 100 * 8;
    return input.host_memory ? std::max(kGiB, share) : 512 * kMiB;
}

struct Budget {
    uint64_t bytes = 0;
    std::string sum;
    uint64_t reserve_bytes = 0;
};

Result<Budget> budget_of(const PlanInput& input) {
    TRY_VOID(check_reading(input.device_name, input.memory));
    const uint64_t free = static_cast<uint64_t>(input.memory.available_bytes), reserve = reserve_bytes(input);
    Budget budget{free > reserve ? free - reserve : 0,
                  fmt::format("{} available less the reserve", describe_bytes(free)), reserve};
    if (input.budget_bytes) {
        if (*input.budget_bytes > budget.bytes)
            return error(ErrorCode::does_not_fit, "--memory-budget {} is more than there is on {}: {}",
                         describe_bytes(*input.budget_bytes), input.device_name, budget.sum);
        budget = {*input.budget_bytes, "--memory-budget", reserve};
    } else if (input.share_bytes && *input.share_bytes < budget.bytes) {
        budget = {*input.share_bytes, "--gpu-memory-utilization", reserve};
    }
    return budget;
}

struct Shape {
    uint64_t sequences = 0, context = 0, pages = 0;
};

Plan lay_out(const PlanInput& input, const Budget& budget, const Shape& shape) {
    Plan plan;
    plan.lines.push_back({"weights", input.weight_bytes, "as packed for this device"});
    if (input.page_bytes > 0)
        plan.lines.push_back({"keys and values", times(shape.pages, input.page_bytes),
                              fmt::format("{} pages of {} tokens, {} each", shape.pages, input.page_size,
                                          describe_bytes(input.page_bytes))});
    if (input.slot_bytes > 0)
        plan.lines.push_back({"recurrent state", times(shape.sequences, input.slot_bytes),
                              fmt::format("{} slots, {} each", shape.sequences, describe_bytes(input.slot_bytes))});
    plan.lines.push_back({"a step's scratch", input.step_bytes(shape.sequences, shape.context),
                          "activations and logits of the largest step"});
    if (const uint64_t graphs = input.graph_bytes ? input.graph_bytes(shape.sequences, shape.context) : 0; graphs > 0)
        plan.lines.push_back({"graphs", graphs, "captured steps in the driver, as many as are kept; an estimate"});
    if (input.context_bytes > 0)
        plan.lines.push_back({"CUDA context", input.context_bytes, "what the driver takes for a process"});
    Total total;
    for (const Plan::Line& line : plan.lines) total.add(line.bytes);
    plan.total_bytes = total.bytes();
    plan.budget_bytes = budget.bytes;
    plan.budget_sum = budget.sum;
    plan.reserve_bytes = budget.reserve_bytes;
    plan.reserve_sum = input.host_memory ? "left to the host" : "left to the driver";
    plan.context = static_cast<int64_t>(std::min<uint64_t>(shape.context, std::numeric_limits<int64_t>::max()));
    plan.sequences = static_cast<int64_t>(shape.sequences);
    plan.pages = static_cast<int64_t>(shape.pages);
    plan.slots = static_cast<int64_t>(shape.sequences);
    return plan;
}

bool is_within_budget(const Plan& plan) {
    return plan.total_bytes <= plan.budget_bytes;
}

Error refusal(const PlanInput& input, const Plan& plan) {
    std::string remedy;
    if (input.weight_bytes > plan.budget_bytes)
        remedy = "the weights alone are too large: a smaller or more tightly quantised model is needed";
    else if (input.kv_bytes)
        remedy = plan.total_bytes > plan.budget_bytes
                     ? "lower --kv-cache-memory"
                     : "--kv-cache-memory is too small for one sequence: raise it, or lower --max-model-len";
    else if (input.context)
        remedy = "lower --max-model-len or --max-num-seqs, or leave them out to get the largest that fit";
    else
        remedy = "free some memory, or lower --max-num-seqs";
    return error(ErrorCode::does_not_fit, "it does not fit on {}:\n{}{}", input.device_name, describe(plan), remedy);
}

}  // namespace

Result<Plan> make_plan(const PlanInput& input) {
    TRY(const Budget budget, budget_of(input));
    if (input.context && *input.context > input.model_context)
        return error(ErrorCode::usage, "--max-model-len {} is more than the model's {} tokens", *input.context,
                     input.model_context);

    const bool paged = input.page_bytes > 0;
    Shape shape{.sequences = std::clamp<uint64_t>(input.sequences.value_or(input.default_sequences), 1, kMostPages),
                .context = input.context.value_or(input.model_context),
                .pages = 0};
    // The least that is worth starting: the context asked for, or a short one.
    const uint64_t least_context = input.context.value_or(std::min(input.model_context, kLeastContext));
    const uint64_t least_pages = paged ? round_up(least_context, input.page_size) : 0;

    for (;; shape.sequences = round_up(shape.sequences, 2)) {
        const Plan least = lay_out(input, budget, {shape.sequences, least_context, least_pages});
        if (is_within_budget(least)) break;
        if (input.sequences || shape.sequences == 1) return refusal(input, least);
    }
    // Pages for every sequence at full length are as many as could ever be used.
    const uint64_t most_pages =
        paged ? std::min(times(shape.sequences, round_up(shape.context, input.page_size)), kMostPages) : 0;
    // Memory that other programs want as well: not more than a quarter of it, unless one sequence needs it.
    const uint64_t quarter = paged ? static_cast<uint64_t>(input.memory.available_bytes) / 4 / input.page_bytes : 0;
    const auto pages_beside = [&](uint64_t context) {
        const Plan rest = lay_out(input, budget, {shape.sequences, context, 0});
        uint64_t pages = is_within_budget(rest) ? (budget.bytes - rest.total_bytes) / input.page_bytes : 0;
        if (input.kv_bytes)
            pages = std::min(pages, *input.kv_bytes / input.page_bytes);
        else if (input.host_memory)
            pages = std::min(pages, std::max(quarter, round_up(context, input.page_size)));
        return std::min(pages, most_pages);
    };
    const auto holds = [&](uint64_t context) {
        if (!paged) return is_within_budget(lay_out(input, budget, {shape.sequences, context, 0}));
        return pages_beside(context) >= round_up(context, input.page_size);
    };
    if (!holds(shape.context)) {
        if (input.context || !holds(least_context))
            return refusal(input, lay_out(input, budget, {shape.sequences, least_context, least_pages}));
        uint64_t fitting = least_context, too_long = shape.context;
        while (too_long - fitting > 1) {
            const uint64_t middle = fitting + (too_long - fitting) / 2;
            (holds(middle) ? fitting : too_long) = middle;
        }
        shape.context = fitting;
    }
    if (!paged) return lay_out(input, budget, shape);
    shape.pages = pages_beside(shape.context);
    // Asked for, so it is to be had whole, and not just as far as it fits.
    if (input.kv_bytes && shape.pages < std::min(*input.kv_bytes / input.page_bytes, most_pages))
        return refusal(input,
                       lay_out(input, budget, {shape.sequences, shape.context, *input.kv_bytes / input.page_bytes}));
    return lay_out(input, budget, shape);
}

Result<std::vector<Fit>> longest_contexts(const PlanInput& input, std::span<const uint64_t> sequences) {
    TRY(const Budget budget, budget_of(input));
    const auto pages_of = [&](uint64_t tokens) { return input.page_bytes > 0 ? round_up(tokens, input.page_size) : 0; };
    const auto holds = [&](uint64_t count, uint64_t context, uint64_t pages) {
        return pages <= kMostPages && (!input.kv_bytes || times(pages, input.page_bytes) <= *input.kv_bytes) &&
               is_within_budget(lay_out(input, budget, {count, context, pages}));
    };
    std::vector<Fit> table;
    for (const uint64_t count : sequences) {
        const auto longest = [&](auto pages) {
            uint64_t fitting = 0, too_long = input.model_context + 1;
            if (holds(count, input.model_context, pages(input.model_context))) return input.model_context;
            while (too_long - fitting > 1) {
                const uint64_t middle = fitting + (too_long - fitting) / 2;
                (holds(count, middle, pages(middle)) ? fitting : too_long) = middle;
            }
            return fitting;
        };
        Fit fit{.sequences = count};
        fit.each = longest([&](uint64_t context) { return times(count, pages_of(context)); });
        fit.alone = longest([&](uint64_t context) { return pages_of(context) + (count - 1) * pages_of(1); });
        table.push_back(fit);
    }
    return table;
}

std::string describe(const Plan& plan) {
    size_t width = std::string_view("together").size();
    for (const Plan::Line& line : plan.lines) width = std::max(width, line.what.size());
    std::string text;
    for (const Plan::Line& line : plan.lines)
        text += fmt::format("  {:<{}}  {:>10}  {}\n", line.what, width, describe_bytes(line.bytes), line.sum);
    text += fmt::format("  {:<{}}  {:>10}  of {}: {}\n", "together", width, describe_bytes(plan.total_bytes),
                        describe_bytes(plan.budget_bytes), plan.budget_sum);
    text +=
        fmt::format("  {:<{}}  {:>10}  {}\n", "reserve", width, describe_bytes(plan.reserve_bytes), plan.reserve_sum);
    return text;
}

}  // namespace nibble::cli
