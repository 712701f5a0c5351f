#include "cli/byte_size.h"

#include <gtest/gtest.h>

namespace nibble::cli {
namespace {

TEST(ByteSize, UnitsOfTwoAndOfTenAreToldApart) {
    EXPECT_EQ(parse_byte_size("4096"), 4096);
    EXPECT_EQ(parse_byte_size("0"), 0);
    EXPECT_EQ(parse_byte_size("24GiB"), 24ll << 30);
    EXPECT_EQ(parse_byte_size("24G"), 24ll << 30);
    EXPECT_EQ(parse_byte_size("24g"), 24ll << 30);
    EXPECT_EQ(parse_byte_size("24 GiB"), 24ll << 30);
    EXPECT_EQ(parse_byte_size("24GB"), 24'000'000'000);
    EXPECT_EQ(parse_byte_size("1.5KiB"), 1536);
    EXPECT_EQ(parse_byte_size("12B"), 12);
    EXPECT_EQ(parse_byte_size("2TiB"), 2ll << 40);
}

TEST(ByteSize, AnythingElseIsNoSize) {
    for (const char* text : {"", "GiB", "-1", "-1GiB", "24XB", "24GiBs", "nan", "inf", "1e3", "9e99", "99999999999TiB",
                             "0x10", "1,5G", "24 G iB"})
        EXPECT_FALSE(parse_byte_size(text)) << text;
}

}  // namespace
}  // namespace nibble::cli
