#include "cli/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

namespace nibble::cli {
namespace {

struct Colour {
    const char* on_light;
    const char* on_dark;
};
// By Ink: text, quiet, axis, grid, limit; then the series, told apart by those who see few colours as well.
constexpr std::array<Colour, 5 + kSeriesInks> kColours = {{{"#1f2328", "#e6edf3"},
                                                           {"#59636e", "#9198a1"},
                                                           {"#818b98", "#656c76"},
                                                           {"#d1d9e0", "#3d444d"},
                                                           {"#cf222e", "#ff7b72"},
                                                           {"#0969da", "#4493f8"},
                                                           {"#e16f24", "#f0883e"},
                                                           {"#1a7f37", "#3fb950"},
                                                           {"#8250df", "#ab7df8"},
                                                           {"#c69026", "#d29922"},
                                                           {"#bf3989", "#db61a2"},
                                                           {"#1b7c83", "#39c5cf"},
                                                           {"#818b98", "#7d8590"}}};

int index_of(Ink ink) {
    return std::clamp(static_cast<int>(ink), 0, static_cast<int>(kColours.size()) - 1);
}

// Bytes of the UTF-8 sequence that begins the text; 0 when it is none, or a character that XML does not allow.
size_t character_bytes(std::string_view text) {
    const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
    const auto goes_on = [&](size_t i) { return (byte(i) & 0xC0u) == 0x80u; };
    const uint32_t first = byte(0);
    if (first < 0x80) return first >= 0x20 && first != 0x7F ? 1 : 0;
    if (first >= 0xC2 && first < 0xE0 && goes_on(1)) {
        return first == 0xC2 && byte(1) < 0xA0 ? 0 : 2;  // C1 controls
    }
    if (first >= 0xE0 && first < 0xF0 && goes_on(1) && goes_on(2)) {
        const uint32_t code = (first & 0x0Fu) << 12 | (byte(1) & 0x3Fu) << 6 | (byte(2) & 0x3Fu);
        return code < 0x800 || (code >= 0xD800 && code < 0xE000) || code >= 0xFFFE ? 0 : 3;
    }
    if (first >= 0xF0 && first < 0xF5 && goes_on(1) && goes_on(2) && goes_on(3)) {
        const uint32_t code = (first & 0x07u) << 18 | (byte(1) & 0x3Fu) << 12;
        return code < 0x10000 || code > 0x10FFFF ? 0 : 4;
    }
    return 0;
}

std::string escaped(std::string_view text) {
    std::string out;
    while (!text.empty()) {
        const size_t bytes = character_bytes(text);
        const char c = text.front();
        if (bytes == 0)
            out += "\xEF\xBF\xBD";
        else if (c == '&')
            out += "&amp;";
        else if (c == '<')
            out += "&lt;";
        else if (c == '>')
            out += "&gt;";
        else if (c == '"')
            out += "&quot;";
        else
            out += text.substr(0, bytes);
        text.remove_prefix(std::max<size_t>(bytes, 1));
    }
    return out;
}

// Hundredths of a pixel are enough; no value of ours may write "inf" into a file.
std::string number(double value) {
    if (!std::isfinite(value)) value = 0;
    std::string text = fmt::format("{:.2f}", value);
    while (text.back() == '0') text.pop_back();
    if (text.back() == '.') text.pop_back();
    return text == "-0" ? "0" : text;
}

std::string dash(const Svg::LineStyle& style) {
    return style.dashed ? " stroke-dasharray=\"6 4\"" : "";
}

std::string closed(std::string_view element, std::string_view tip) {
    return tip.empty() ? "/>\n" : fmt::format("><title>{}</title></{}>\n", escaped(tip), element);
}

std::string style_sheet() {
    const auto rules = [](const char* indent, bool dark) {
        std::string text = fmt::format("{}.card{{fill:{};stroke:{}}}\n", indent, dark ? "#0d1117" : "#ffffff",
                                       dark ? "#3d444d" : "#d1d9e0");
        for (size_t i = 0; i < kColours.size(); ++i) {
            const char* colour = dark ? kColours[i].on_dark : kColours[i].on_light;
            text += fmt::format("{0}.f{1}{{fill:{2}}}.s{1}{{stroke:{2}}}\n", indent, i, colour);
        }
        return text;
    };
    return fmt::format(
        "<style>\ntext{{font-family:system-ui,-apple-system,'Segoe UI','Noto Sans','DejaVu Sans',"
        "Helvetica,Arial,sans-serif}}\n{}@media (prefers-color-scheme:dark){{\n{}}}\n</style>\n",
        rules("", false), rules("  ", true));
}

}  // namespace

Ink series(int index) {
    return static_cast<Ink>(static_cast<int>(Ink::series0) + ((index % kSeriesInks) + kSeriesInks) % kSeriesInks);
}

Svg::Svg(double width, double height, std::string_view title, std::string_view description)
    : width_(width), height_(height) {
    body_ = fmt::format(
        "<title id=\"title\">{}</title>\n<desc id=\"desc\">{}</desc>\n{}"
        "<rect class=\"card\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"6\"/>\n",
        escaped(title), escaped(description), style_sheet(), number(width - 1), number(height - 1));
}

void Svg::rect(double x, double y, double width, double height, Ink ink, std::string_view tip) {
    body_ += fmt::format("<rect class=\"f{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"{}", index_of(ink), number(x),
                         number(y), number(std::max(width, 0.0)), number(std::max(height, 0.0)), closed("rect", tip));
}

void Svg::circle(Point centre, double radius, Ink ink, std::string_view tip) {
    body_ += fmt::format("<circle class=\"f{}\" cx=\"{}\" cy=\"{}\" r=\"{}\"{}", index_of(ink), number(centre.x),
                         number(centre.y), number(std::max(radius, 0.0)), closed("circle", tip));
}

void Svg::line(Point from, Point to, Ink ink, LineStyle style) {
    body_ += fmt::format("<line class=\"s{}\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke-width=\"{}\"{}/>\n",
                         index_of(ink), number(from.x), number(from.y), number(to.x), number(to.y), number(style.width),
                         dash(style));
}

void Svg::polyline(std::span<const Point> points, Ink ink, LineStyle style) {
    std::string list;
    for (const Point& point : points)
        list += fmt::format("{}{},{}", list.empty() ? "" : " ", number(point.x), number(point.y));
    body_ += fmt::format(
        "<polyline class=\"s{}\" fill=\"none\" stroke-linejoin=\"round\" stroke-width=\"{}\"{} points=\"{}\"/>\n",
        index_of(ink), number(style.width), dash(style), list);
}

void Svg::text(Point at, std::string_view words, TextStyle style) {
    const char* anchor = style.anchor == Anchor::middle ? " text-anchor=\"middle\""
                         : style.anchor == Anchor::end  ? " text-anchor=\"end\""
                                                        : "";
    body_ += fmt::format("<text class=\"f{}\" x=\"{}\" y=\"{}\" font-size=\"{}\"{}{}>{}</text>\n", index_of(style.ink),
                         number(at.x), number(at.y), number(style.size), style.bold ? " font-weight=\"600\"" : "",
                         anchor, escaped(words));
}

std::string Svg::document() const {
    return fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" role=\"img\" "
        "aria-labelledby=\"title desc\">\n{2}</svg>\n",
        number(width_), number(height_), body_);
}

double text_width(std::string_view words, double size) {
    double characters = 0;
    for (const char c : words) {
        if ((static_cast<unsigned char>(c) & 0xC0u) == 0x80u) continue;
        characters += std::string_view("ijlI.,:;|!' ()").find(c) != std::string_view::npos ? 0.34
                      : std::string_view("mwMW%@").find(c) != std::string_view::npos       ? 0.88
                                                                                           : 0.58;
    }
    return characters * size;
}

double Axis::at(double value) const {
    const auto place = [&](double v) { return logarithmic ? std::log2(std::max(v, low)) : v; };
    const double span = place(high) - place(low);
    return span == 0 ? from : from + (place(value) - place(low)) / span * (to - from);
}

std::vector<double> Axis::ticks(int most) const {
    std::vector<double> values;
    most = std::max(most, 1);
    if (!(high > low) || !std::isfinite(high) || !std::isfinite(low)) return {low};
    if (logarithmic) {
        const double first = std::ceil(std::log2(low) - 1e-9), last = std::floor(std::log2(high) + 1e-9);
        const double step = std::max(1.0, std::ceil((last - first + 1) / most));
        for (double power = first; power <= last; power += step) values.push_back(std::exp2(power));
        return values;
    }
    double step = std::pow(10.0, std::floor(std::log10((high - low) / most)));
    for (const double factor : {1.0, 2.0, 5.0, 10.0, 20.0}) {
        const double first = std::ceil(low / (step * factor) - 1e-9), last = std::floor(high / (step * factor) + 1e-9);
        if (last - first + 1 > most) continue;
        for (double i = first; i <= last; ++i) values.push_back(i * step * factor);
        break;
    }
    return values;
}

Axis axis_up_to(double largest, double from, double to) {
    if (!(largest > 0) || !std::isfinite(largest)) largest = 1;
    const double power = std::pow(10.0, std::floor(std::log10(largest)));
    double high = 10 * power;
    for (const double factor : {8.0, 6.0, 5.0, 4.0, 3.0, 2.5, 2.0, 1.5, 1.2, 1.0})
        if (largest <= factor * power * (1 + 1e-12)) high = factor * power;
    return {.low = 0, .high = high, .from = from, .to = to};
}

std::string tick_label(double value) {
    const double rounded = std::round(value);
    if (std::abs(value - rounded) > 1e-9 * std::max(1.0, std::abs(value))) return fmt::format("{:.3g}", value);
    std::string digits = fmt::format("{:.0f}", std::abs(rounded));
    for (int64_t at = static_cast<int64_t>(digits.size()) - 3; at > 0; at -= 3)
        digits.insert(static_cast<size_t>(at), ",");
    return rounded < 0 ? "-" + digits : digits;
}

}  // namespace nibble::cli
