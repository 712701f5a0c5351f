// What a request that does not say gets: the checkpoint's generation_config.json.
#pragma once

#include "base/result.h"
#include "checkpoint/checkpoint.h"
#include "server/served_model.h"

#include <string>
#include <vector>

namespace nibble::cli {

// Fields outside their range are model_invalid. eos_ids are left to the caller.
Result<server::GenerationDefaults> generation_defaults(const checkpoint::Checkpoint& checkpoint);

}  // namespace nibble::cli
