// Op, Row, select, dispatch: how a mathematical contract finds the code that meets it on a device.
//
// An op is an args struct (the contract) and a table of rows in order of preference. select() is pure: first row whose
// device and predicate accept the problem, or the row forced by name. dispatch() runs that row, records it, or does
// both with a timer. Ops neither allocate outside the arena, nor synchronise, nor choose a stream.
#pragma once

#include "base/check.h"
#include "base/thread_pool.h"
#include "device/buffer.h"
#include "device/device.h"
#include "device/stream.h"
#include "device/tensor.h"
#include "ops/program.h"
#include "ops/step_timer.h"

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::ops {

using device::DType;
using device::Tensor;

enum class Mode : uint8_t {
    run,      // launch
    record,   // nothing runs: append to the program
    profile,  // launch between two marks of the timer, and append
};

// How many experts a routed layer reads for T tokens when nothing is measured: uniform independent routing. A measured
// histogram (how often each expert was chosen) makes the estimate sharper.
struct RoutingModel {
    std::map<std::string, std::vector<double>, std::less<>>
        layer_probability;  // module -> P(expert in a token's top k)
    double distinct_experts(std::string_view module, int64_t experts, int64_t top_k, int64_t tokens) const;
};

// Rows forced by name: op -> row. Tests and bench only.
using ForcedRows = std::map<std::string, std::string, std::less<>>;

class InputObserver;  // input_observer.h
class ExpertCounts;   // moe/expert_counts.h

// What every op is given beside its arguments. One per engine thread; passed down, never stored.
struct OpContext {
    const device::Device* device = nullptr;
    device::Stream stream;
    ThreadPool* threads = nullptr;   // CPU rows
    device::Arena* arena = nullptr;  // activations and scratch of this step
    Mode mode = Mode::run;
    Program* program = nullptr;  // record and profile
    StepTimer* timer = nullptr;  // profile
    const RoutingModel* routing = nullptr;
    const ForcedRows* forced = nullptr;
    std::string_view module;         // the module whose ops are being called
    DType activation = DType::bf16;  // of what projections read: bf16, or f32 to compare with a float32 reference

    InputObserver* observer = nullptr;            // calibration only: sees what matrices are multiplied with
    const ExpertCounts* expert_counts = nullptr;  // run and profile: routed layers add to it which experts they chose
    bool nvfp4_activations = false;               // W4A4, emulated on the CPU to measure it (nvfp4_activations.h)

    // Of the residual stream: on the CPU float32, for its bytes are nothing beside the weights'.
    DType residual() const { return device->is_cpu() ? DType::f32 : activation; }
    bool recording() const { return mode == Mode::record; }
    Tensor allocate(DType dtype, std::initializer_list<int64_t> shape) { return arena->allocate(dtype, shape); }
};

// Names the module for the ops called in a scope.
class ModuleScope {
public:
    ModuleScope(OpContext& context, std::string_view module) : context_(context), outer_(context.module) {
        context.module = module;
    }
    ~ModuleScope() { context_.module = outer_; }
    ModuleScope(const ModuleScope&) = delete;
    ModuleScope& operator=(const ModuleScope&) = delete;

private:
    OpContext& context_;
    std::string_view outer_;
};

// Which devices a row is for. A CUDA row's architecture is the lowest compute capability that its code was built for.
enum class Arch : uint8_t { cpu, cuda_any, sm90, sm120 };

inline bool arch_matches(Arch arch, const device::Device& device) {
    if (device.is_cpu()) return arch == Arch::cpu;
    switch (arch) {
        case Arch::cpu:
            return false;
        case Arch::cuda_any:
            return true;
        case Arch::sm90:
            return device.compute_capability == 90;
        case Arch::sm120:
            return device.compute_capability == 120 || device.compute_capability == 121;
    }
    return false;
}

template <class Args>
struct Row {
    const char* name;
    Arch arch;
    bool (*accepts)(const Args&, const device::Device&);           // null: everything
    int64_t (*scratch_bytes)(const Args&, const device::Device&);  // from the arena during run; null: none
    void (*run)(OpContext&, const Args&);
};

template <class Args>
struct Op {
    const char* name;
    std::span<const Row<Args>> rows;
    Cost (*cost)(const OpContext&, const Args&);
    std::string (*shape)(const Args&);
    std::string (*format)(const Args&);       // of the weights; null: there are none
    std::string_view (*module)(const Args&);  // null: the context's
    std::vector<WeightRead> (*weights)(const OpContext&, const Args&) = nullptr;  // null: no matrix
};

// The row that runs, or null when no row of this device accepts the problem. A forced name that does not exist or does
// not accept is null as well: nothing is silently replaced.
template <class Args>
const Row<Args>* select(const Op<Args>& op, const Args& args, const device::Device& device,
                        std::string_view forced = {}) {
    for (const Row<Args>& row : op.rows) {
        if (!arch_matches(row.arch, device)) continue;
        if (!forced.empty() && forced != row.name) continue;
        if (row.accepts == nullptr || row.accepts(args, device)) return &row;
    }
    return nullptr;
}

void append_step(OpContext& context, ProgramStep step);

template <class Args>
void dispatch(OpContext& context, const Op<Args>& op, const Args& args) {
    std::string_view forced;
    if (context.forced != nullptr)
        if (auto it = context.forced->find(op.name); it != context.forced->end()) forced = it->second;
    const Row<Args>* row = select(op, args, *context.device, forced);
    const auto describe = [&] {
        return ProgramStep{.op = op.name,
                           .module = std::string(op.module ? op.module(args) : context.module),
                           .format = op.format ? op.format(args) : std::string(),
                           .shape = op.shape(args),
                           .row = row ? row->name : "",
                           .cost = op.cost(context, args),
                           .weights = op.weights ? op.weights(context, args) : std::vector<WeightRead>()};
    };
    if (context.mode == Mode::record) {
        device::ArenaScope scope(*context.arena);
        if (row != nullptr && row->scratch_bytes != nullptr)
            context.arena->allocate_bytes(row->scratch_bytes(args, *context.device));
        append_step(context, describe());
        return;
    }
    CHECK(row != nullptr, "no row of op {} for {} on {}", op.name, op.shape(args), context.device->name);
    device::ArenaScope scope(*context.arena);
    if (context.mode == Mode::run) {
        row->run(context, args);
        return;
    }
    CHECK(context.timer != nullptr);
    context.timer->start(context.stream);
    row->run(context, args);
    context.timer->stop(context.stream);
    append_step(context, describe());
}

}  // namespace nibble::ops
