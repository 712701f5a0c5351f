// ModelOutline: a model on a device as its headers and configs describe it, before a byte of weights is read. The plan
// of `serve`, the verb `plan` and everything else that is known beforehand start here.
#pragma once

#include "base/result.h"
#include "base/thread_pool.h"
#include "checkpoint/checkpoint.h"
#include "cli/known_devices.h"
#include "cli/memory_plan.h"
#include "cli/model_flags.h"
#include "device/device.h"
#include "model/model.h"
#include "ops/program.h"

#include <memory>

namespace nibble::cli {

struct ModelOutline {
    Folder folder;
    std::shared_ptr<const checkpoint::Checkpoint> checkpoint;
    device::Device device;
    device::MemoryReading memory;               // of the device; described: what it has, all of it available
    const KnownDevice* described = nullptr;     // the device is known by name and was not read
    model::LoadOptions load;                    // as asked for; source is headers
    std::unique_ptr<const model::Model> model;  // without weights
    ops::Program decode;                        // one token of one sequence
};

struct OutlineOptions {
    bool known_devices = false;  // --device may name a device that is not here
    bool headers_only = false;   // data is not wanted later either; config and index are enough
    bool draft = false;          // with the draft block
    ThreadPool* threads = nullptr;
};

// Errors: not_found, model_invalid, unsupported (an op that no row of the device runs; with --strict none but the
// oracle), device_unusable, usage.
Result<ModelOutline> outline_model(const ModelFlags& flags, const OutlineOptions& options);

// What the plan is made from. The outline must outlive it.
PlanInput plan_input(const ModelOutline& outline, const ModelFlags& flags, uint64_t default_sequences);

}  // namespace nibble::cli
