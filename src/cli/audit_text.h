// What `nibble audit` prints for people: the best line first, 100 columns. Pure; any thread.
#pragma once

#include "cli/model_audit.h"

#include <span>
#include <string>

namespace nibble::cli {

// Headline, formats, findings, bytes of a token by part, ceilings, and what to shrink.
std::string describe(const ModelAudit& audit, std::span<const AuditDevice> devices);
// Findings and assumptions, a line each.
std::string describe_findings(const ModelAudit& audit);
// One line a matrix, or a group of alike experts.
std::string describe_modules(const ModelAudit& audit, std::span<const AuditDevice> devices);

// "2.98 GB a token, 24 % of it the BF16 head: at most 81 tokens/s on a GB10 at 240 GB/s".
std::string headline(const ModelAudit& audit, const AuditDevice& device);

}  // namespace nibble::cli
