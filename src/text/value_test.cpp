#include "text/value.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <string>

namespace nibble::text {
namespace {

std::string round_trip(std::string_view json) {
    auto value = parse_json(json);
    return value ? to_json(*value) : "error: " + value.error().message;
}

TEST(Json, IsReadAndWrittenAsPythonDoes) {
    for (std::string_view json :
         {"null", "true", "[1, -2, 3.5, \"a\"]", "{\"b\": 1, \"a\": {}, \"c\": []}", "1.0", "1e+16", "1e-05", "0.0001",
          "1234567890123456.0", "\"é\\\"\\\\\\n\\u0001\"", "9223372036854775807", "-9223372036854775808"})
        EXPECT_EQ(round_trip(json), json);
    EXPECT_EQ(round_trip(" { \"a\" : [ ] } "), "{\"a\": []}");
    EXPECT_EQ(round_trip("\"\\u00e9\\ud83d\\ude00\\/\""), "\"é😀/\"");
    EXPECT_EQ(round_trip("9223372036854775808"), "9.223372036854776e+18");
    EXPECT_EQ(round_trip("1E2"), "100.0");
    EXPECT_EQ(round_trip("-0"), "0");
    EXPECT_EQ(round_trip("[1e999, -1e999, 1e-999]"), "[Infinity, -Infinity, 0.0]");
    EXPECT_EQ(to_json(*parse_json("{\"a\": [1, {}], \"b\": []}"), 2),
              "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}");
}

TEST(Json, TheLastOfTwoEqualKeysWinsInTheFirstPlace) {
    EXPECT_EQ(round_trip("{\"a\": 1, \"b\": 2, \"a\": 3}"), "{\"a\": 3, \"b\": 2}");
}

TEST(Json, AnUnpairedSurrogateBecomesTheReplacementCharacter) {
    EXPECT_EQ(round_trip("\"a\\ud83d\""), "\"a\xef\xbf\xbd\"");
    EXPECT_EQ(round_trip("\"\\ud83d\\u0041\\ude00\""),
              "\"\xef\xbf\xbd"
              "A\xef\xbf\xbd\"");
}

TEST(Json, WhatIsNoJsonIsRefused) {
    for (std::string_view json :
         {"",    " ",   "nul",      "[1,]", "{\"a\":}", "{a: 1}",    "[1 2]",  "01",     "1.",
          ".5",  "+1",  "1e",       "\"a",  "\"\\x\"",  "\"\\u12\"", "\"\n\"", "\x80",   "\"\xed\xa0\x80\"",
          "1 2", "NaN", "Infinity", "[",    "{",        "{\"a\"",    "'a'",    "\"a\"b", "tru"}) {
        auto value = parse_json(json);
        EXPECT_FALSE(value) << json;
    }
    EXPECT_EQ(parse_json("[1, x]").error().message, "JSON: a value expected at byte 4");
    EXPECT_EQ(parse_json("[1, x]").error().code, ErrorCode::invalid_request);
}

TEST(Json, NestingIsLimited) {
    auto nested = [](size_t n) { return std::string(n, '[') + std::string(n, ']'); };
    EXPECT_TRUE(parse_json(nested(64)));
    EXPECT_FALSE(parse_json(nested(65)));
    EXPECT_TRUE(parse_json(nested(65), 65));
    EXPECT_FALSE(parse_json(nested(100'000)));
    EXPECT_FALSE(parse_json(std::string(100'000, '{')));
}

TEST(Object, ManyKeysKeepTheirOrderAndAreFoundQuickly) {
    Object object;
    for (int i = 0; i < 20'000; i++) object.set(fmt::format("key{}", i), i);
    for (int i = 0; i < 20'000; i += 2) object.set(fmt::format("key{}", i), -i);
    ASSERT_EQ(object.size(), 20'000u);
    for (int i = 0; i < 20'000; i++) {
        const Value* value = object.find(fmt::format("key{}", i));
        ASSERT_NE(value, nullptr);
        EXPECT_EQ(value->as_int(), i % 2 ? i : -i);
        EXPECT_EQ(object.entries()[static_cast<size_t>(i)].first, fmt::format("key{}", i));
    }
    EXPECT_EQ(object.find("absent"), nullptr);
    const Object copy = object;
    EXPECT_EQ(copy.find("key19999")->as_int(), 19'999);
}

TEST(Value, CopiesShareAndLiteralsAreWhatTheySay) {
    EXPECT_TRUE(Value("a").is_string());
    EXPECT_TRUE(Value(true).is_bool());
    EXPECT_TRUE(Value(1).is_int());
    EXPECT_TRUE(Value(1.5).is_float());
    EXPECT_TRUE(Value().is_none());
    EXPECT_TRUE(Value(Undefined{}).is_undefined());
    const Value a = *parse_json("{\"x\": [1]}"), b = a;
    EXPECT_EQ(&a.as_object(), &b.as_object());
    EXPECT_EQ(a.find("y"), nullptr);
    EXPECT_EQ(Value(1).find("y"), nullptr);
}

}  // namespace
}  // namespace nibble::text
