// The picture of `nibble audit --svg`: bytes of a token as stacked bars beside the ceiling. Pure; any thread.
#pragma once

#include "cli/model_audit.h"

#include <span>
#include <string>

namespace nibble::cli {

// A bar for the model as it is and one for each step of its shrink list; with `other` a bar for either model.
std::string audit_svg(const ModelAudit& audit, const ModelAudit* other, const AuditDevice& device);

}  // namespace nibble::cli
