// What `nibble audit --json` prints: docs/cli.md has the fields.
#pragma once

#include "cli/model_audit.h"

#include <span>
#include <string>

namespace nibble::cli {

// One model, or with `other` both and their comparison. `modules`: with a line for each matrix.
std::string audit_json(const ModelAudit& audit, const ModelAudit* other, std::span<const AuditDevice> devices,
                       bool modules);

}  // namespace nibble::cli
