#include "cli/audit_svg.h"

#include "cli/svg.h"
#include "cli/text_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

namespace nibble::cli {
namespace {

constexpr double kWidth = 860, kMargin = 24, kHead = 78, kBarHeight = 26, kBarStep = 58, kCeilingWidth = 150;
constexpr double kLegendStep = 22, kLegendColumns = 4;
constexpr double kLeastShare = 0.01;  // thinner segments are drawn as one

struct Bar {
    std::string label;
    std::vector<Segment> segments;
    double tokens_per_second = 0;

    double bytes() const {
        double sum = 0;
        for (const Segment& segment : segments) sum += segment.bytes;
        return sum;
    }
};

Bar bar_of(const ModelAudit& audit, std::string label, const AuditDevice& device) {
    Bar bar{.label = std::move(label)};
    bar.segments = segments_of(audit.first().parts);
    for (Segment& segment : bar.segments) segment.bytes /= static_cast<double>(audit.first().batch);
    bar.tokens_per_second = device.read_bytes_per_second / bar.bytes();
    return bar;
}

std::vector<Bar> bars_of(const ModelAudit& audit, const ModelAudit* other, const AuditDevice& device) {
    if (other != nullptr) return {bar_of(audit, audit.name, device), bar_of(*other, other->name, device)};
    std::vector<Bar> bars = {bar_of(audit, "as it is", device)};
    for (const Shrink& shrink : audit.shrinks) {
        Bar bar = bars.back();
        bar.label = "then " + shrink.what;
        for (const Segment& saved : shrink.saved)
            for (Segment& segment : bar.segments)
                if (segment.name == saved.name) segment.bytes -= saved.bytes / static_cast<double>(audit.first().batch);
        bar.tokens_per_second = device.read_bytes_per_second / bar.bytes();
        bars.push_back(std::move(bar));
    }
    return bars;
}

// What is thin in every bar becomes one segment. The order is that of the first bar, which has the largest first.
std::vector<std::string> join_thin_segments(std::vector<Bar>& bars) {
    std::map<std::string, double> share;
    std::vector<std::string> order;
    for (const Bar& bar : bars)
        for (const Segment& segment : bar.segments) {
            const auto [found, is_first] = share.emplace(segment.name, 0);
            if (is_first) order.push_back(segment.name);
            found->second = std::max(found->second, segment.bytes / bar.bytes());
        }
    const std::string rest = "the rest";
    bool any = false;
    for (Bar& bar : bars) {
        std::map<std::string, double> bytes;
        for (const Segment& segment : bar.segments)
            bytes[share[segment.name] < kLeastShare ? rest : segment.name] += segment.bytes;
        any = any || bytes[rest] > 0;
        bar.segments.clear();
        for (const std::string& name : order)
            if (share[name] >= kLeastShare) bar.segments.push_back({name, bytes[name]});
        bar.segments.push_back({rest, bytes[rest]});
    }
    std::erase_if(order, [&](const std::string& name) { return share[name] < kLeastShare; });
    if (any) order.push_back(rest);
    return order;
}

std::string plain_arrow(std::string text) {
    for (size_t at = text.find("->"); at != std::string::npos; at = text.find("->", at)) text.replace(at, 2, "→");
    return text;
}

}  // namespace

std::string audit_svg(const ModelAudit& audit, const ModelAudit* other, const AuditDevice& device) {
    std::vector<Bar> bars = bars_of(audit, other, device);
    const std::vector<std::string> names = join_thin_segments(bars);
    const auto ink_of = [&](const std::string& name) {
        return series(static_cast<int>(std::find(names.begin(), names.end(), name) - names.begin()));
    };
    double most = 0;
    for (const Bar& bar : bars) most = std::max(most, bar.bytes());
    const double legend_rows = std::ceil(static_cast<double>(names.size()) / kLegendColumns);
    const double bars_end = kHead + kBarStep * static_cast<double>(bars.size());
    const double height = bars_end + 44 + kLegendStep * legend_rows + 8;
    const AuditStep& step = audit.first();
    const std::string title = other != nullptr ? "What a token costs" : "What a token costs: " + audit.name;
    std::vector<std::string> words;
    for (const Bar& bar : bars)
        words.push_back(fmt::format("{}: {}, {} tokens/s", bar.label, decimal_bytes(bar.bytes()),
                                    per_second(bar.tokens_per_second)));
    Svg svg(kWidth, height, title, fmt::format("Bytes of a token and the ceiling. {}.", fmt::join(words, "; ")));

    const double title_size = std::min(16.0, 16 * (kWidth - 2 * kMargin) / text_width(title, 16));
    svg.text({kMargin, 30}, title, {.size = title_size, .bold = true});
    svg.text({kMargin, 50},
             fmt::format("memory read and written for each token, {} sequence{}, context {}; ceiling on {} at {} GB/s",
                         step.batch, step.batch == 1 ? "" : "s", grouped(static_cast<double>(step.context)),
                         device.title, per_second(device.read_bytes_per_second / 1e9)),
             {.size = 12, .ink = Ink::quiet});
    const Axis axis{.low = 0, .high = most, .from = kMargin, .to = kWidth - kMargin - kCeilingWidth};
    const bool in_gb = most >= 1e9;
    const double unit = in_gb ? 1e9 : 1e6;
    for (const double tick : Axis{.low = 0, .high = most / unit, .from = axis.from, .to = axis.to}.ticks(8)) {
        const double x = axis.at(tick * unit);
        for (size_t i = 0; i < bars.size(); ++i) {
            const double y = kHead + kBarStep * static_cast<double>(i);
            svg.line({x, y + 13}, {x, y + 17 + kBarHeight}, Ink::grid);
        }
        svg.text({x, bars_end + 8}, tick_label(tick) + (tick == 0 ? (in_gb ? " GB" : " MB") : ""),
                 {.size = 11, .anchor = tick == 0 ? Svg::Anchor::start : Svg::Anchor::middle, .ink = Ink::quiet});
    }
    for (size_t i = 0; i < bars.size(); ++i) {
        const Bar& bar = bars[i];
        const double y = kHead + kBarStep * static_cast<double>(i);
        svg.text({kMargin, y + 8}, plain_arrow(bar.label), {.size = 12});
        double from = 0;
        for (const Segment& segment : bar.segments) {
            if (segment.bytes <= 0) continue;
            const double x = axis.at(from), end = axis.at(from + segment.bytes);
            svg.rect(x, y + 15, std::max(end - x - 1, 0.5), kBarHeight, ink_of(segment.name),
                     fmt::format("{}: {} MB", segment.name, megabytes(segment.bytes)));
            from += segment.bytes;
        }
        svg.text({kWidth - kMargin, y + 27}, per_second(bar.tokens_per_second) + " tokens/s",
                 {.size = 15, .anchor = Svg::Anchor::end, .bold = true});
        svg.text({kWidth - kMargin, y + 43}, decimal_bytes(bar.bytes()),
                 {.size = 12, .anchor = Svg::Anchor::end, .ink = Ink::quiet});
    }
    const double column = (kWidth - 2 * kMargin) / kLegendColumns;
    for (size_t i = 0; i < names.size(); ++i) {
        const double x = kMargin + column * static_cast<double>(i % static_cast<size_t>(kLegendColumns));
        const double y = bars_end + 40 + kLegendStep * static_cast<double>(i / static_cast<size_t>(kLegendColumns));
        svg.rect(x, y - 10, 12, 12, ink_of(names[i]));
        svg.text({x + 18, y}, names[i], {.size = 12});
    }
    return svg.document();
}

}  // namespace nibble::cli
