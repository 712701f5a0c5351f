// Drawings are well-formed whatever is written into them, and axes have round ticks.
#include "cli/svg.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace nibble::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(Svg, EscapesMarkupAndReplacesWhatIsNoText) {
    Svg svg(100, 50, "a <b> & \"c\"", "");
    svg.text({1, 2}, "x\x1b[31m\xff\xc3(\xed\xa0\x80 ä€😀");
    svg.rect(0, 0, 1, 1, series(0), "</title><script>");
    const std::string document = svg.document();
    EXPECT_THAT(document, HasSubstr("<title id=\"title\">a &lt;b&gt; &amp; &quot;c&quot;</title>"));
    EXPECT_THAT(document, HasSubstr(">x\uFFFD[31m\uFFFD\uFFFD(\uFFFD\uFFFD\uFFFD ä€😀</text>"));
    EXPECT_THAT(document, Not(HasSubstr("<script>")));
}

TEST(Svg, NeverWritesANumberThatIsNone) {
    Svg svg(100, 50, "t", "d");
    const Point points[] = {{std::numeric_limits<double>::quiet_NaN(), 1},
                            {2, std::numeric_limits<double>::infinity()}};
    svg.polyline(points, series(1), {});
    svg.rect(1, 1, -5, 0.004, Ink::grid);
    EXPECT_THAT(svg.document(), HasSubstr("points=\"0,1 2,0\""));
    EXPECT_THAT(svg.document(), HasSubstr("width=\"0\" height=\"0\""));
}

TEST(Svg, SeriesGoByTurns) {
    EXPECT_EQ(series(0), series(kSeriesInks));
    EXPECT_NE(series(0), series(1));
}

TEST(SvgAxis, EndsAtTheNextRoundValue) {
    EXPECT_DOUBLE_EQ(axis_up_to(2981, 0, 1).high, 3000);
    EXPECT_DOUBLE_EQ(axis_up_to(1000, 0, 1).high, 1000);
    EXPECT_DOUBLE_EQ(axis_up_to(0.071, 0, 1).high, 0.08);
    EXPECT_DOUBLE_EQ(axis_up_to(0, 0, 1).high, 1);
    EXPECT_DOUBLE_EQ(axis_up_to(9.5, 0, 1).high, 10);
}

TEST(SvgAxis, TicksAreRoundAndNoMoreThanAskedFor) {
    EXPECT_THAT((Axis{.low = 0, .high = 3000}.ticks(7)), ElementsAre(0, 500, 1000, 1500, 2000, 2500, 3000));
    EXPECT_THAT((Axis{.low = 0, .high = 3000}.ticks(4)), ElementsAre(0, 1000, 2000, 3000));
    EXPECT_THAT((Axis{.low = 1, .high = 64, .logarithmic = true}.ticks(9)), ElementsAre(1, 2, 4, 8, 16, 32, 64));
    EXPECT_THAT((Axis{.low = 1, .high = 64, .logarithmic = true}.ticks(4)), ElementsAre(1, 4, 16, 64));
    for (double high = 0.013; high < 1e7; high *= 1.7)
        for (int most = 2; most < 12; ++most) {
            const auto ticks = Axis{.low = 0, .high = high}.ticks(most);
            EXPECT_LE(ticks.size(), static_cast<size_t>(most)) << high;
            EXPECT_GE(ticks.size(), 1u) << high;
        }
}

TEST(SvgAxis, PlacesValues) {
    const Axis linear{.low = 0, .high = 10, .from = 100, .to = 0};
    EXPECT_DOUBLE_EQ(linear.at(2.5), 75);
    const Axis logarithmic{.low = 1, .high = 16, .from = 0, .to = 100, .logarithmic = true};
    EXPECT_DOUBLE_EQ(logarithmic.at(4), 50);
    EXPECT_DOUBLE_EQ(logarithmic.at(0), 0);
}

TEST(SvgAxis, LabelsAreShort) {
    EXPECT_EQ(tick_label(0), "0");
    EXPECT_EQ(tick_label(1450), "1,450");
    EXPECT_EQ(tick_label(0.5), "0.5");
    EXPECT_EQ(tick_label(-12345678), "-12,345,678");
}

}  // namespace
}  // namespace nibble::cli
