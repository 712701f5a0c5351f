// ModelAudit: what a token of a model costs and how fast that can be, from headers and configs alone.
//
// Everything that is counted comes from the recorded Program of the same forward that runs; nothing here knows a
// shape. Made once by one thread, immutable.
#pragma once

#include "base/result.h"
#include "cli/checkpoint_survey.h"
#include "cli/program_parts.h"
#include "cli/shrink_list.h"
#include "device/device.h"
#include "model/model.h"
#include "ops/op.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::cli {

// A device to ask about: one of this machine, or one known by name.
struct AuditDevice {
    std::string name, title;  // "gb10", "NVIDIA GB10"
    device::Device device;
    double read_bytes_per_second = 0;
    std::string basis;      // "measured just now"
    bool has_rows = false;  // this build has code for such a device
};

// name: of known_devices(), or cpu, auto, cuda, cuda:N of this machine, which is measured unless the bandwidth is
// given. Errors: usage, device_unusable, does_not_fit.
Result<AuditDevice> find_audit_device(std::string_view name, std::optional<double> bytes_per_second);

struct AuditRequest {
    std::vector<AuditDevice> devices;        // at least one; the first is the one that sentences speak of
    std::vector<int64_t> batches, contexts;  // at least one of each
    bool contexts_asked_for = false;         // else those that the model does not have are shortened
    std::optional<device::DType> kv_dtype;   // of the cache; nothing: as serve does
    std::string routing_file;                // empty: uniform routing
};

// A step in which `batch` sequences decode one token each after `context` others.
struct AuditStep {
    int64_t batch = 1, context = 1;
    ProgramParts parts;

    double bytes() const { return static_cast<double>(parts.total.memory_bytes()); }
    double bytes_per_token() const { return bytes() / static_cast<double>(batch); }
    double tokens_per_second(const AuditDevice& device) const {
        return device.read_bytes_per_second / bytes_per_token();
    }
};

struct ModelAudit {
    std::string argument;  // as it was typed
    std::string name;      // the folder's, or org/name
    CheckpointSurvey survey;

    // What is known of a model that nibble can run; else steps is empty.
    model::Spec spec;
    bool uniform_routing = true;
    bool has_routers = false;
    std::vector<std::vector<AuditStep>> steps;  // [device][batch x context]
    std::vector<Shrink> shrinks;                // of the first device's first step

    bool has_program() const { return !steps.empty(); }
    const AuditStep& first() const { return steps.front().front(); }
    // Bytes of a token of the first step as published figures count them: matrices, keys and values, and the recurrent
    // matrices; routers in 16 bits; no convolutions, no vectors.
    double bytes_as_published() const;
    // Of the gravest finding; 0 without errors.
    int exit_status() const;
};

// How the modules behind a weight are stored by their tensors (empty where there are none) and by the configs (empty
// where they say nothing); several names where they differ.
struct StoredAs {
    std::string tensors, claims;
};
StoredAs stored_as(const ModelAudit& audit, const ops::WeightRead& weight);

// Errors: not_found; usage, for a routing file that cannot be used. All else is a finding of the survey.
Result<ModelAudit> audit_model(std::string_view argument, const AuditRequest& request);

}  // namespace nibble::cli
