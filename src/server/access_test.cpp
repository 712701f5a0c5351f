#include "server/access.h"

#include <gtest/gtest.h>

namespace nibble::server {
namespace {

RequestHead head(std::vector<std::pair<std::string, std::string>> fields) {
    RequestHead out;
    out.fields = std::move(fields);
    return out;
}

int status(const std::optional<ApiError>& error) {
    return error ? error->status : 200;
}

TEST(Access, ANameReboundToLocalhostIsRefused) {
    const Access access(AccessOptions{.allowed_hosts = {"spark.local"}});
    EXPECT_EQ(status(access.check_origin(head({{"host", "evil.example:8000"}}))), 403);
    EXPECT_EQ(status(access.check_origin(head({{"host", "localhost:8000"}}))), 200);
    EXPECT_EQ(status(access.check_origin(head({{"host", "Spark.Local"}}))), 200);
    EXPECT_EQ(status(access.check_origin(head({}))), 200);  // HTTP/1.0
    EXPECT_EQ(status(Access(AccessOptions{.check_host = false}).check_origin(head({{"host", "spark"}}))), 200);
}

TEST(Access, PagesOfOtherSitesAreRefusedUnlessListed) {
    const Access access(AccessOptions{.allowed_origins = {"https://chat.example"}});
    const auto ask = [&](std::string origin) {
        return status(access.check_origin(head({{"host", "localhost:8000"}, {"origin", std::move(origin)}})));
    };
    EXPECT_EQ(ask("https://evil.example"), 403);
    EXPECT_EQ(ask("null"), 403);
    EXPECT_EQ(ask(""), 403);
    EXPECT_EQ(ask("http://localhost:9000"), 403);
    EXPECT_EQ(ask("http://localhost:8000"), 200);
    EXPECT_EQ(ask("https://chat.example"), 200);
    EXPECT_EQ(ask("https://chat.example.evil"), 403);
    EXPECT_TRUE(access.origin_fields("https://evil.example").empty());
    EXPECT_EQ(access.origin_fields("https://chat.example").front().second, "https://chat.example");
    EXPECT_EQ(status(Access(AccessOptions{.allowed_origins = {"*"}})
                         .check_origin(head({{"host", "localhost"}, {"origin", "https://any.example"}}))),
              200);
}

TEST(Access, AnyOfTheKeysOpensAndNothingElse) {
    const Access access(AccessOptions{.api_keys = {"one", "two"}});
    EXPECT_EQ(status(access.check_key(head({}))), 401);
    EXPECT_EQ(status(access.check_key(head({{"authorization", "Bearer one"}}))), 200);
    EXPECT_EQ(status(access.check_key(head({{"authorization", "bearer two"}}))), 200);
    EXPECT_EQ(status(access.check_key(head({{"x-api-key", "two"}}))), 200);
    for (const char* value : {"Bearer", "Bearer ", "Bearer on", "Bearer onee", "Bearer  one", "Basic one", "one", ""})
        EXPECT_EQ(status(access.check_key(head({{"authorization", value}}))), 401) << value;
    // What Authorization says counts, not what else was tried.
    EXPECT_EQ(status(access.check_key(head({{"authorization", "Bearer x"}, {"x-api-key", "one"}}))), 401);
    EXPECT_EQ(status(Access(AccessOptions{}).check_key(head({}))), 200);
}

}  // namespace
}  // namespace nibble::server
