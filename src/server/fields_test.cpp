#include "server/fields.h"

#include <gtest/gtest.h>

namespace nibble::server {
namespace {

text::Value json(std::string_view text) {
    auto value = text::parse_json(text);
    EXPECT_TRUE(value) << text;
    return value ? std::move(*value) : text::Value(text::Object{});
}

std::string error_of(std::string_view body, void (*read)(Fields&)) {
    const text::Value value = json(body);
    Fields fields(value.as_object());
    read(fields);
    return fields.error() ? fields.error()->message : "";
}

TEST(Fields, AbsentAndNullAreTheSame) {
    const text::Value value = json(R"({"a": null})");
    Fields fields(value.as_object());
    EXPECT_FALSE(fields.integer("a", 0, 1));
    EXPECT_FALSE(fields.number("b", 0, 1));
    EXPECT_FALSE(fields.string("a"));
    EXPECT_FALSE(fields.boolean("b"));
    EXPECT_EQ(fields.array("a", 1), nullptr);
    EXPECT_EQ(fields.object("a"), nullptr);
    EXPECT_TRUE(fields.ok());
}

TEST(Fields, AnIntegerMayBeWrittenAsAFloat) {
    const text::Value value =
        json(R"({"a": 3, "b": 3.0, "c": -0.0, "d": 9007199254740992.0, "e": 9223372036854775807})");
    Fields fields(value.as_object());
    EXPECT_EQ(fields.integer("a", 0, 10), 3);
    EXPECT_EQ(fields.integer("b", 0, 10), 3);
    EXPECT_EQ(fields.integer("c", 0, 10), 0);
    EXPECT_EQ(fields.integer("d", 0, int64_t{1} << 60), int64_t{1} << 53);
    EXPECT_EQ(fields.integer("e", 0, INT64_MAX), INT64_MAX);
    EXPECT_TRUE(fields.ok());
}

TEST(Fields, AMistakeNamesFieldRangeAndWhatWasFound) {
    const auto n = [](Fields& fields) { fields.integer("n", 1, 8); };
    EXPECT_EQ(error_of(R"({"n": 9})", n), "n: expected an integer in [1, 8], found 9");
    EXPECT_EQ(error_of(R"({"n": 1.5})", n), "n: expected an integer in [1, 8], found 1.5");
    EXPECT_EQ(error_of(R"({"n": true})", n), "n: expected an integer in [1, 8], found true");
    EXPECT_EQ(error_of(R"({"n": "3"})", n), "n: expected an integer in [1, 8], found the string '3'");
    EXPECT_EQ(error_of(R"({"n": [1]})", n), "n: expected an integer in [1, 8], found a list of 1");
    EXPECT_EQ(error_of(R"({"n": {}})", n), "n: expected an integer in [1, 8], found an object");
    EXPECT_EQ(error_of(R"({"n": 1e308})", n), "n: expected an integer in [1, 8], found 1e+308");
    EXPECT_EQ(error_of(R"({"n": 18446744073709551616})", n),
              "n: expected an integer in [1, 8], found 1.8446744073709552e+19");
    EXPECT_EQ(error_of(R"({"t": 2.5})", [](Fields& fields) { fields.number("t", 0, 2); }),
              "t: expected a number in [0, 2], found 2.5");
    EXPECT_EQ(error_of(R"({"s": 1})", [](Fields& fields) { fields.string("s"); }), "s: expected a string, found 1");
    EXPECT_EQ(error_of(R"({"s": "abc"})", [](Fields& fields) { fields.string("s", 2); }),
              "s: expected a string of at most 2 bytes, found 3 bytes");
    EXPECT_EQ(error_of(R"({"l": [1, 2]})", [](Fields& fields) { fields.array("l", 1); }),
              "l: expected a list of at most 1, found 2");
}

TEST(Fields, TheFirstMistakeIsKept) {
    EXPECT_EQ(error_of(R"({"a": 9, "b": 9})",
                       [](Fields& fields) {
                           fields.integer("b", 0, 1);
                           fields.integer("a", 0, 1);
                       }),
              "b: expected an integer in [0, 1], found 9");
}

TEST(Fields, PathsOfInnerObjectsStandBeforeTheName) {
    const text::Value value = json(R"({"type": 1})");
    Fields fields(value.as_object(), "messages[3].content[0]");
    fields.string("type");
    ASSERT_FALSE(fields.ok());
    EXPECT_EQ(fields.error()->param, "messages[3].content[0].type");
}

TEST(Fields, WhatNobodyAskedForIsUnknown) {
    const text::Value value = json(R"({"a": 1, "user": "u", "zz": 2, "b": null})");
    Fields fields(value.as_object());
    fields.integer("a", 0, 1);
    fields.without_effect("user");
    fields.without_effect("metadata");
    EXPECT_EQ(fields.unknown(), (std::vector<std::string_view>{"zz", "b"}));
    EXPECT_EQ(fields.ignored(), (std::vector<std::string_view>{"user"}));
}

}  // namespace
}  // namespace nibble::server
