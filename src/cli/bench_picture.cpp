#include "cli/bench_picture.h"

#include "cli/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace nibble::cli {
namespace {

constexpr double kWidth = 760, kHeight = 440, kLeft = 76, kRight = 164, kTop = 84, kBottom = 60;

struct Curve {
    int64_t prompt_tokens = 0;
    std::vector<const BenchRun*> runs;  // by concurrency
};

std::vector<Curve> curves_of(std::span<const BenchRun> runs) {
    std::vector<Curve> curves;
    for (const BenchRun& run : runs) {
        auto found = std::find_if(curves.begin(), curves.end(),
                                  [&](const Curve& curve) { return curve.prompt_tokens == run.prompt_tokens; });
        if (found == curves.end())
            found = curves.insert(curves.end(), {.prompt_tokens = run.prompt_tokens, .runs = {}});
        found->runs.push_back(&run);
    }
    for (Curve& curve : curves)
        std::sort(curve.runs.begin(), curve.runs.end(),
                  [](const BenchRun* a, const BenchRun* b) { return a->concurrency < b->concurrency; });
    return curves;
}

}  // namespace

std::string draw_bench(std::string_view title, std::string_view subtitle, std::span<const BenchRun> runs) {
    const std::vector<Curve> curves = curves_of(runs);
    double least = 1, most = 1, highest = 0;
    std::string words;
    for (const BenchRun& run : runs) {
        most = std::max(most, static_cast<double>(run.concurrency));
        highest = std::max({highest, quantile(run.decode(), 1), run.ceiling()});
        words += fmt::format("{} sequences: {:.1f} tokens/s; ", run.concurrency, quantile(run.decode(), 0.5));
    }
    Svg svg(kWidth, kHeight, title, words);
    // One measured concurrency stands in the middle.
    if (most == least) most = 2, least = 0.5;
    const Axis x{.low = least, .high = most, .from = kLeft, .to = kWidth - kRight, .logarithmic = true};
    const Axis y = axis_up_to(std::max(highest, 1.0), kHeight - kBottom, kTop);
    svg.text({kLeft, 30}, title, {.size = 17, .bold = true});
    svg.text({kLeft, 52}, subtitle, {.size = 12, .ink = Ink::quiet});
    for (const double tick : y.ticks(6)) {
        svg.line({x.from, y.at(tick)}, {x.to, y.at(tick)}, Ink::grid);
        svg.text({x.from - 8, y.at(tick) + 4}, tick_label(tick), {.anchor = Svg::Anchor::end, .ink = Ink::quiet});
    }
    for (const double tick : x.ticks(12)) {
        if (tick < 1) continue;
        svg.line({x.at(tick), y.from}, {x.at(tick), y.from + 5}, Ink::axis);
        svg.text({x.at(tick), y.from + 20}, tick_label(tick), {.anchor = Svg::Anchor::middle, .ink = Ink::quiet});
    }
    svg.line({x.from, y.from}, {x.to, y.from}, Ink::axis);
    svg.text({(x.from + x.to) / 2, kHeight - 16}, "sequences at once", {.anchor = Svg::Anchor::middle});
    svg.text({16, kTop - 10}, "tokens/s", {.size = 12});

    double last_label = -100;
    const auto label = [&](double at, std::string_view text, Ink ink) {
        const double line = std::max(at + 4, last_label + 16);
        svg.text({x.to + 10, line}, text, {.size = 12, .ink = ink});
        last_label = line;
    };
    std::vector<std::pair<double, std::pair<std::string, Ink>>> labels;
    for (size_t i = 0; i < curves.size(); ++i) {
        const Ink ink = series(static_cast<int>(i));
        std::vector<Point> points, limit;
        for (const BenchRun* run : curves[i].runs) {
            const double at = x.at(static_cast<double>(run->concurrency)), median = quantile(run->decode(), 0.5);
            points.push_back({at, y.at(median)});
            if (run->ceiling() > 0) limit.push_back({at, y.at(run->ceiling())});
            svg.line({at, y.at(quantile(run->decode(), 0))}, {at, y.at(quantile(run->decode(), 1))}, ink, {.width = 2});
        }
        svg.polyline(points, ink, {.width = 2});
        for (size_t p = 0; p < points.size(); ++p) {
            const BenchRun& run = *curves[i].runs[p];
            std::string tip =
                fmt::format("{} sequences: {:.1f} tokens/s", run.concurrency, quantile(run.decode(), 0.5));
            if (run.ceiling() > 0)
                tip += fmt::format(", {:.0f} % of the ceiling of {:.1f}", run.share() * 100, run.ceiling());
            svg.circle(points[p], 4, ink, tip);
        }
        labels.push_back({points.back().y, {fmt::format("prompts of {}", curves[i].prompt_tokens), ink}});
        if (limit.empty()) continue;
        if (limit.size() == 1) limit = {{x.from, limit[0].y}, {x.to, limit[0].y}};
        svg.polyline(limit, Ink::limit, {.width = 2, .dashed = true});
        labels.push_back({limit.back().y,
                          {curves.size() == 1 ? std::string("ceiling of memory")
                                              : fmt::format("ceiling, prompts of {}", curves[i].prompt_tokens),
                           Ink::limit}});
    }
    std::sort(labels.begin(), labels.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    for (const auto& [at, what] : labels) label(at, what.first, what.second);
    return svg.document();
}

}  // namespace nibble::cli
