#include "server/routes.h"

#include "server/tiny_tokenizer.h"

#include <gtest/gtest.h>

namespace nibble::server {
namespace {

class RoutesTest : public testing::Test {
protected:
    int ask(Method method, std::string path, std::vector<std::pair<std::string, std::string>> fields = {}) {
        RequestHead head;
        head.method = method;
        head.path = std::move(path);
        head.fields = std::move(fields);
        const auto reply = routes_->admit(head);
        return reply ? reply->status : 200;
    }
    void make(RouteOptions options = {}) {
        routes_ = std::make_unique<Routes>(std::move(options), services_, workers_);
    }
    void make_ready() {
        routes_->set_ready(
            std::make_shared<const ServedModel>(ServedModel{.names = {"m"}, .tokenizer = tiny_tokenizer()}));
    }

    Services services_;
    Workers workers_{1};
    std::unique_ptr<Routes> routes_;
};

TEST_F(RoutesTest, BeforeTheModelIsThereOnlyLifeIsSaid) {
    make();
    for (const char* path : {"/health", "/health/ready", "/v1/models", "/metrics", "/version", "/nowhere"})
        EXPECT_EQ(ask(Method::get, path), 503) << path;
    EXPECT_EQ(ask(Method::get, "/health/live"), 200);
    routes_->set_loading("weights", 12.34);
    RequestHead head;
    head.method = Method::get;
    head.path = "/health";
    const auto reply = routes_->admit(head);
    EXPECT_NE(reply->body.find(R"("stage":"weights","percent":12.3)"), std::string::npos) << reply->body;
    EXPECT_EQ(reply->fields.front().first, "Retry-After");
}

TEST_F(RoutesTest, WhileDrainingNoWorkIsTaken) {
    make();
    make_ready();
    EXPECT_EQ(ask(Method::get, "/health"), 200);
    routes_->set_draining();
    for (const char* path : {"/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize", "/apply-template"})
        EXPECT_EQ(ask(Method::post, path), 503) << path;
    EXPECT_EQ(ask(Method::get, "/health"), 503);
    for (const char* path : {"/health/live", "/metrics", "/v1/models"}) EXPECT_EQ(ask(Method::get, path), 200) << path;
    make_ready();  // a model that comes too late does not bring it back
    EXPECT_EQ(ask(Method::get, "/health"), 503);
}

TEST_F(RoutesTest, WhileMemoryIsShortNoWorkIsTakenAndTheReasonIsSaid) {
    make();
    make_ready();
    routes_->set_refusing("the host is short of memory");
    EXPECT_EQ(ask(Method::post, "/v1/completions"), 503);
    EXPECT_EQ(ask(Method::get, "/health"), 503);
    for (const char* path : {"/health/live", "/metrics", "/v1/models"}) EXPECT_EQ(ask(Method::get, path), 200) << path;
    RequestHead head;
    head.method = Method::post;
    head.path = "/v1/chat/completions";
    const auto reply = routes_->admit(head);
    ASSERT_TRUE(reply);
    EXPECT_NE(reply->body.find("the host is short of memory"), std::string::npos) << reply->body;
    EXPECT_EQ(reply->fields.front(), (std::pair<std::string_view, std::string>("Retry-After", "5")));
    routes_->set_refusing(std::nullopt);
    EXPECT_EQ(ask(Method::get, "/health"), 200);
}

TEST_F(RoutesTest, AllButHealthWantTheKey) {
    make({.access = {.api_keys = {"k"}}});
    make_ready();
    for (const char* path : {"/v1/models", "/metrics", "/version", "/nowhere", "/health/x", "/v1/models/m"})
        EXPECT_EQ(ask(Method::get, path), 401) << path;
    for (const char* path : {"/health", "/health/live", "/health/ready"})
        EXPECT_EQ(ask(Method::get, path), 200) << path;
    EXPECT_EQ(ask(Method::get, "/v1/models", {{"authorization", "Bearer k"}}), 200);
}

TEST_F(RoutesTest, MethodAndKindOfBodyMustFit) {
    make();
    make_ready();
    EXPECT_EQ(ask(Method::post, "/v1/models"), 405);
    EXPECT_EQ(ask(Method::get, "/tokenize"), 405);
    EXPECT_EQ(ask(Method::other, "/tokenize"), 405);
    EXPECT_EQ(ask(Method::head, "/v1/models"), 200);
    EXPECT_EQ(ask(Method::options, "/tokenize"), 204);
    EXPECT_EQ(ask(Method::post, "/tokenize", {{"content-type", "application/json; charset=utf-8"}}), 200);
    EXPECT_EQ(ask(Method::post, "/tokenize", {{"content-type", "text/plain"}}), 415);
    EXPECT_EQ(ask(Method::post, "/tokenize", {{"content-encoding", "gzip"}}), 415);
    EXPECT_EQ(ask(Method::get, "/nowhere"), 404);
    EXPECT_EQ(ask(Method::get, "/v1/models/"), 404);
}

}  // namespace
}  // namespace nibble::server
