// AuditComparison: two models' tokens side by side, and why one costs more bytes than the other: more values, or more
// bits for each. Pure; any thread.
#pragma once

#include "cli/model_audit.h"

#include <string>
#include <vector>

namespace nibble::cli {

struct ComparedPart {
    std::string name;  // of a part, or of a segment that has no weights
    struct Side {
        double bytes = 0;   // of a token
        double values = 0;  // weights read for it; 0: a segment without weights
        double bits() const { return values > 0 ? 8 * bytes / values : 0; }
    } a, b;

    double difference() const { return b.bytes - a.bytes; }
    // The part of the difference that more or fewer values make, at a's bits; the rest is their width, at b's number.
    double by_values() const { return (b.values - a.values) * a.bits() / 8; }
};

// Of the first step on the first device, the largest difference first. Both have a Program.
std::vector<ComparedPart> compare(const ModelAudit& a, const ModelAudit& b);

// Both headlines, the table, and the sentence for each part that makes a difference.
std::string describe_comparison(const ModelAudit& a, const ModelAudit& b, const AuditDevice& device);

}  // namespace nibble::cli
