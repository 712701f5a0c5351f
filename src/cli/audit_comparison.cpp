#include "cli/audit_comparison.h"

#include "cli/audit_text.h"
#include "cli/text_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

namespace nibble::cli {
namespace {

constexpr double kLeastShare = 0.005;  // of the larger model, for a sentence

void add_sides(const ModelAudit& audit, ComparedPart::Side ComparedPart::*side,
               std::map<std::string, ComparedPart>& parts) {
    const AuditStep& step = audit.first();
    const auto batch = static_cast<double>(step.batch);
    for (const Segment& segment : segments_of(step.parts)) {
        ComparedPart& part = parts[segment.name];
        part.name = segment.name;
        (part.*side).bytes = segment.bytes / batch;
    }
    for (const PartCost& part : step.parts.parts)
        if (const auto found = parts.find(std::string(name(part.part))); found != parts.end())
            (found->second.*side).values = part.values / batch;
}

std::string signed_megabytes(double bytes) {
    if (std::abs(bytes) < 5e3) return "0";
    return (bytes < 0 ? "-" : "+") + megabytes(std::abs(bytes));
}

std::string width(const ComparedPart::Side& side) {
    return side.values > 0 ? fmt::format("{} x {:.1f}", megabytes(side.values), side.bits()) : "";
}

// "attention: 180 MB more: 4.1 times the values (+210 MB), 16.0 -> 8.0 bits each (-30 MB)".
std::string sentence(const ComparedPart& part) {
    const double difference = part.difference();
    std::string text =
        fmt::format("  {}: {} MB {}", part.name, megabytes(std::abs(difference)), difference > 0 ? "more" : "less");
    if (part.a.bytes == 0) return text + ", which A does not have\n";
    if (part.b.bytes == 0) return text + ", which B does not have\n";
    if (part.a.values == 0 || part.b.values == 0) return text + "\n";
    const double by_values = part.by_values(), by_width = difference - by_values;
    std::string why;
    if (std::abs(by_values) > 0.02 * std::abs(difference))
        why +=
            fmt::format("{:.2f} times the values ({} MB)", part.b.values / part.a.values, signed_megabytes(by_values));
    if (std::abs(by_width) > 0.02 * std::abs(difference))
        why += fmt::format("{}{:.1f} -> {:.1f} bits each ({} MB)", why.empty() ? "" : ", ", part.a.bits(),
                           part.b.bits(), signed_megabytes(by_width));
    return text + (why.empty() ? "\n" : ": " + why + "\n");
}

}  // namespace

std::vector<ComparedPart> compare(const ModelAudit& a, const ModelAudit& b) {
    std::map<std::string, ComparedPart> by_name;
    add_sides(a, &ComparedPart::a, by_name);
    add_sides(b, &ComparedPart::b, by_name);
    std::vector<ComparedPart> parts;
    for (auto& [key, part] : by_name) parts.push_back(std::move(part));
    std::stable_sort(parts.begin(), parts.end(), [](const ComparedPart& x, const ComparedPart& y) {
        return std::pair(std::abs(x.difference()), x.a.bytes) > std::pair(std::abs(y.difference()), y.a.bytes);
    });
    return parts;
}

std::string describe_comparison(const ModelAudit& a, const ModelAudit& b, const AuditDevice& device) {
    const double a_bytes = a.first().bytes_per_token(), b_bytes = b.first().bytes_per_token();
    const double a_speed = a.first().tokens_per_second(device), b_speed = b.first().tokens_per_second(device);
    std::string text =
        fmt::format("A {}\n  {}\nB {}\n  {}\n\n", a.name, headline(a, device), b.name, headline(b, device));
    if (std::abs(b_bytes - a_bytes) <= 1e-4 * a_bytes)
        text += "Both tokens cost the same.\n";
    else
        text += fmt::format("{} is slower by {:.0f} %: {} more for each token. What B has against A:\n",
                            b_bytes > a_bytes ? "B" : "A",
                            100 * (1 - std::min(a_speed, b_speed) / std::max(a_speed, b_speed)),
                            decimal_bytes(std::abs(b_bytes - a_bytes)));
    const std::vector<ComparedPart> parts = compare(a, b);
    for (const ComparedPart& part : parts)
        if (std::abs(part.difference()) >= kLeastShare * std::max(a_bytes, b_bytes)) text += sentence(part);
    TextTable table("<>>>>>");
    table.add({"a token, MB", "A", "B", "B - A", "A, M values x bits", "B"});
    for (const ComparedPart& part : parts)
        table.add({part.name, megabytes(part.a.bytes), megabytes(part.b.bytes), signed_megabytes(part.difference()),
                   width(part.a), width(part.b)});
    table.add({"together", megabytes(a_bytes), megabytes(b_bytes), signed_megabytes(b_bytes - a_bytes)});
    return text + "\n" + table.text();
}

}  // namespace nibble::cli
