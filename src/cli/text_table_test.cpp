#include "cli/text_table.h"

#include <gtest/gtest.h>

namespace nibble::cli {
namespace {

TEST(TextTable, AlignsByCharactersAndEndsLinesEarly) {
    TextTable table("<><");
    table.add({"part", "MB", "stored"});
    table.add({"größe", "1,234", ""});
    table.add({"x"});
    EXPECT_EQ(table.text(1), " part      MB  stored\n größe  1,234\n x\n");
}

TEST(Figures, HaveThreeFiguresAndThousands) {
    EXPECT_EQ(grouped(19339781632.0), "19,339,781,632");
    EXPECT_EQ(grouped(-1234.4), "-1,234");
    EXPECT_EQ(grouped(-0.2), "0");
    EXPECT_EQ(megabytes(0), "0");
    EXPECT_EQ(megabytes(98.2e6), "98.2");
    EXPECT_EQ(megabytes(0.28e6), "0.28");
    EXPECT_EQ(megabytes(99.96e6), "100");
    EXPECT_EQ(megabytes(2986.2e6), "2,986");
    EXPECT_EQ(decimal_bytes(2.986e9), "2.99 GB");
    EXPECT_EQ(decimal_bytes(999.6e6), "1.00 GB");
    EXPECT_EQ(decimal_bytes(273.2e6), "273 MB");
    EXPECT_EQ(per_second(9.94), "9.9");
    EXPECT_EQ(per_second(1449.6), "1,450");
}

}  // namespace
}  // namespace nibble::cli
