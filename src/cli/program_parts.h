// ProgramParts: a recorded step's cost by the parts of a model, so that a person sees where the bytes of a token go.
//
// Which part a step belongs to is told by the op it runs, the role of the weights it reads, and the block around it: a
// matrix beside an op "attention" is attention's. No model's names are known here. Pure; any thread.
#pragma once

#include "ops/program.h"
#include "ops/weight.h"

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::cli {

enum class Part : uint8_t {
    mamba,
    linear_attention,
    attention,
    mlp,
    routed_experts,
    shared_expert,
    router,
    head,
    embedding,
    norms,
    other
};
std::string_view name(Part part);  // "routed experts"

struct PartCost {
    Part part = Part::other;
    ops::Cost cost;                                              // of a step; activations left out
    double values = 0;                                           // weights read, whatever their format
    std::map<ops::WeightFormat, double> weight_bytes_by_format;  // matrices
    std::set<std::string> rows;                                  // "linear nvfp4_gemv"; "linear" alone: no row

    double weight_bytes() const { return static_cast<double>(cost.weight_bytes); }
    double bits_per_value() const { return values > 0 ? 8 * weight_bytes() / values : 0; }
};

// One op of a step with one of its matrices, or with what it reads beside matrices (module as the op's).
struct ModuleCost {
    Part part = Part::other;
    std::string op, module, row, shape;
    ops::WeightRead weight;  // n == 0: none
    ops::Cost cost;
};

struct ProgramParts {
    std::vector<PartCost> parts;      // the most bytes first; none that moves nothing
    std::vector<ModuleCost> modules;  // in the order in which they run
    ops::Cost total;
    double distinct_experts = 0;  // mean over the routed layers
    int64_t routed_layers = 0;
};

// What a step moves, in kinds that add up: the weights of each part, then "recurrent state" and "keys and values".
struct Segment {
    std::string name;
    double bytes = 0;
};
std::vector<Segment> segments_of(const ProgramParts& parts);
inline constexpr std::string_view kStateSegment = "recurrent state", kCacheSegment = "keys and values";

// The modules of the checkpoint behind a weight: projections that were joined ("x.q_proj+k_proj") and experts
// ("x.experts.up_proj", 128 of them) are several.
std::vector<std::string> modules_behind(const ops::WeightRead& weight);

// tokens: of the step, over all sequences.
ProgramParts parts_of(const ops::Program& program, int64_t tokens);

}  // namespace nibble::cli
