// Svg: a drawing as one self-contained SVG file, for the pictures of audit and bench.
//
// The drawing brings its own card as background and changes its colours with prefers-color-scheme, so it can be read on
// light and dark pages, and where style sheets' media queries are not followed. Coordinates are pixels, y grows
// downwards. Text may hold any bytes: markup is escaped, what is no printable UTF-8 is replaced. Owned by one thread.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::cli {

// A colour by its meaning. series() gives those of parts and curves.
enum class Ink { text, quiet, axis, grid, limit, series0 };
inline constexpr int kSeriesInks = 8;
Ink series(int index);  // by turns

struct Point {
    double x = 0, y = 0;
};

class Svg {
public:
    enum class Anchor { start, middle, end };
    struct TextStyle {
        double size = 13;
        Anchor anchor = Anchor::start;
        bool bold = false;
        Ink ink = Ink::text;
    };
    struct LineStyle {
        double width = 1;
        bool dashed = false;
    };

    // The title is read out and shown as a tip; the description is for who cannot see the drawing.
    Svg(double width, double height, std::string_view title, std::string_view description);

    void rect(double x, double y, double width, double height, Ink ink, std::string_view tip = {});
    void circle(Point centre, double radius, Ink ink, std::string_view tip = {});
    void line(Point from, Point to, Ink ink, LineStyle style);
    void line(Point from, Point to, Ink ink) { line(from, to, ink, LineStyle()); }
    void polyline(std::span<const Point> points, Ink ink, LineStyle style);
    // (x, y) is on the base line.
    void text(Point at, std::string_view words, TextStyle style);
    void text(Point at, std::string_view words) { text(at, words, TextStyle()); }

    double width() const { return width_; }
    double height() const { return height_; }
    std::string document() const;

private:
    double width_, height_;
    std::string body_;
};

// About as wide as sans-serif text of this size is drawn, for layout.
double text_width(std::string_view words, double size);

// A scale: values low … high lie at pixels from … to. Logarithmic ones have low > 0.
struct Axis {
    double low = 0, high = 1;
    double from = 0, to = 1;
    bool logarithmic = false;

    double at(double value) const;
    // Round values within low … high, at most `most` of them: 1, 2 or 5 times a power of ten; on a logarithmic axis
    // powers of two.
    std::vector<double> ticks(int most) const;
};

// From 0 to the first round value at or above `largest`.
Axis axis_up_to(double largest, double from, double to);

// "0", "0.5", "120", "1,450".
std::string tick_label(double value);

}  // namespace nibble::cli
