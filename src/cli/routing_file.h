// A routing file: how often each expert of each layer was chosen; `bench --write-routing` makes it for `audit
// --routing`.
//
//     {"backbone.layers.1.mixer": [812, 90, …], …}
//
// A list has one number an expert, counts or frequencies: only their proportions matter. Layers that are not named
// are routed uniformly.
#pragma once

#include "base/result.h"
#include "ops/moe/expert_counts.h"
#include "ops/op.h"
#include "ops/program.h"

#include <string>

namespace nibble::cli {

// one_token: the Program of a single token with uniform routing, which knows the layers. Errors: usage, naming the
// file, the layer, expected and found.
Result<ops::RoutingModel> read_routing_file(const std::string& path, const ops::Program& one_token);

// What such a file holds, a layer a line.
std::string routing_text(const ops::ExpertCounts::Lists& counts);

}  // namespace nibble::cli
