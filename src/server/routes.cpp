#include "server/routes.h"

#include "base/in_quotes.h"
#include "server/json_writer.h"
#include "server/openai_chat.h"
#include "server/openai_completions.h"
#include "server/tokenize.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace nibble::server {
namespace {

bool is_json_type(std::string_view content_type) {
    std::string type(content_type.substr(0, content_type.find(';')));
    while (!type.empty() && type.back() == ' ') type.pop_back();
    for (char& c : type)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
    return type == "application/json" ||
           (type.substr(0, 12) == "application/" && type.size() > 17 && type.substr(type.size() - 5) == "+json");
}

HttpReply json_reply(std::string body) {
    return {.body = std::move(body)};
}

void append_model(JsonWriter& json, std::string_view name, const ServedModel& model) {
    json.begin_object().string("id", name).string("object", "model").integer("created", model.created);
    json.string("owned_by", "nibble").string("root", model.names.front()).key("parent").null();
    json.integer("max_model_len", model.max_context).end_object();
}

}  // namespace

const std::vector<Routes::Route>& Routes::table() {
    static const std::vector<Route> routes = {
        {.path = "/health/live", .open = true, .always = true, .answer = &Routes::live},
        {.path = "/health/ready", .open = true, .answer = &Routes::ready},
        {.path = "/health", .open = true, .answer = &Routes::ready},
        {.path = "/v1/chat/completions", .post = true, .makes_work = true, .make = &Routes::chat},
        {.path = "/v1/completions", .post = true, .makes_work = true, .make = &Routes::completions},
        {.path = "/v1/models", .answer = &Routes::models},
        {.path = "/v1/models/", .answer = &Routes::one_model},
        {.path = "/tokenize", .post = true, .makes_work = true, .make = &Routes::tokenize_text},
        {.path = "/detokenize", .post = true, .makes_work = true, .make = &Routes::detokenize_ids},
        {.path = "/apply-template", .post = true, .makes_work = true, .make = &Routes::render_template},
        {.path = "/metrics", .answer = &Routes::metrics},
        {.path = "/version", .answer = &Routes::version},
    };
    return routes;
}

const Routes::Route* Routes::find(std::string_view path) {
    for (const Route& route : table()) {
        const bool below = route.path.back() == '/';
        if (below ? path.size() > route.path.size() && path.substr(0, route.path.size()) == route.path
                  : path == route.path)
            return &route;
    }
    return nullptr;
}

Routes::Routes(RouteOptions options, Services& services, Workers& workers)
    : options_(std::move(options)), access_(options_.access), services_(services), workers_(workers) {}

void Routes::set_loading(std::string stage, double percent) {
    const std::lock_guard lock(mutex_);
    stage_ = std::move(stage);
    percent_ = percent;
}

void Routes::set_ready(std::shared_ptr<const ServedModel> model) {
    const std::lock_guard lock(mutex_);
    model_ = std::move(model);
    if (phase_ == Phase::loading) phase_ = Phase::ready;
}

void Routes::set_draining() {
    const std::lock_guard lock(mutex_);
    phase_ = Phase::draining;
}

void Routes::set_refusing(std::optional<std::string> reason) {
    const std::lock_guard lock(mutex_);
    refusing_ = std::move(reason);
}

std::optional<std::string> Routes::refusing() const {
    const std::lock_guard lock(mutex_);
    return refusing_;
}

Routes::Phase Routes::phase() const {
    const std::lock_guard lock(mutex_);
    return phase_;
}

Routes::Model Routes::model() const {
    const std::lock_guard lock(mutex_);
    return model_;
}

std::string Routes::error_body(int status, std::string_view message) {
    services_.metrics.answered(status);
    return openai_error_json(api_error(status, message));
}

std::vector<std::pair<std::string_view, std::string>> Routes::origin_fields(std::string_view origin) {
    return access_.origin_fields(origin);
}

// One path, the one of the request line, decides both who may and what is done.
std::optional<HttpReply> Routes::admit(const RequestHead& head) {
    const Route* route = find(head.path);
    auto reply = refuse(route, head);
    if (reply) services_.metrics.answered(reply->status);
    return reply;
}

std::optional<HttpReply> Routes::refuse(const Route* route, const RequestHead& head) {
    if (auto error = access_.check_origin(head)) return openai_error_reply(*error);
    const std::string_view methods = !route        ? "GET, HEAD, POST, OPTIONS"
                                     : route->post ? "POST, OPTIONS"
                                                   : "GET, HEAD, OPTIONS";
    if (head.method == Method::options) return access_.preflight(head, methods);
    if (!route || !route->open)
        if (auto error = access_.check_key(head)) return openai_error_reply(*error);
    const Phase now = phase();
    if (now == Phase::loading && !(route && route->always)) return unready(now);
    if (!route) {
        ApiError error = api_error(404, fmt::format("there is no route {}", in_quotes(head.path)));
        error.code = "not_found";
        return openai_error_reply(error);
    }
    if (route->makes_work || route->answer == &Routes::ready) {
        if (now == Phase::draining) return unready(now);
        if (auto reason = refusing()) {
            ApiError error = api_error(503, *reason);
            error.code = "overloaded";
            HttpReply reply = openai_error_reply(error);
            for (auto& [field, value] : reply.fields)
                if (field == "Retry-After") value = "5";
            return reply;
        }
    }
    const bool fits =
        route->post ? head.method == Method::post : head.method == Method::get || head.method == Method::head;
    if (!fits) {
        ApiError error = api_error(405, fmt::format("{} takes {}", in_quotes(route->path), methods));
        error.code = "method_not_allowed";
        HttpReply reply = openai_error_reply(error);
        reply.fields.emplace_back("Allow", std::string(methods));
        return reply;
    }
    const std::string_view encoding = head.field("content-encoding");
    if (!encoding.empty() && encoding != "identity")
        return openai_error_reply(api_error(415, "encoded bodies are not taken; send the JSON as it is"));
    // A form of a page elsewhere can post text or a form, but not this.
    if (route->post && !head.field("content-type").empty() && !is_json_type(head.field("content-type")))
        return openai_error_reply(api_error(415, "the body must be JSON: Content-Type: application/json"));
    return std::nullopt;
}

HttpReply Routes::unready(Phase phase) {
    ApiError error = api_error(503, phase == Phase::draining ? "the server is stopping" : "the model is loading");
    error.code = phase == Phase::draining ? "draining" : "loading";
    HttpReply reply = openai_error_reply(error);
    if (phase == Phase::loading) {
        const std::lock_guard lock(mutex_);
        reply.body.pop_back();
        JsonWriter(reply.body).string("stage", stage_).number("percent", std::round(percent_ * 10) / 10).end_object();
    }
    return reply;
}

void Routes::handle(const std::shared_ptr<Exchange>& exchange) {
    const Route* route = find(exchange->request().path);
    const Model now = model();
    if (route->answer) {
        HttpReply reply = (this->*route->answer)(exchange->request(), now);
        services_.metrics.answered(reply.status);
        exchange->reply(std::move(reply));
        return;
    }
    const bool taken = workers_.submit([this, route, now, exchange] {
        auto made = (this->*route->make)(exchange->request(), exchange->take_body(), now);
        if (!made) report_fault(services_, exchange->request().id, made.error());
        // std::function wants what it holds to be copyable.
        auto outcome = std::make_shared<Result<Outcome>>(std::move(made));
        exchange->post([this, outcome](Exchange& open) {
            if (*outcome && std::holds_alternative<std::unique_ptr<Answer>>(**outcome)) {
                open.set_answer(std::move(std::get<std::unique_ptr<Answer>>(**outcome)));
                return;
            }
            HttpReply reply =
                *outcome ? std::move(std::get<HttpReply>(**outcome)) : openai_error_reply(api_error(outcome->error()));
            services_.metrics.answered(reply.status);
            open.reply(std::move(reply));
        });
    });
    if (taken) return;
    HttpReply reply = openai_error_reply(api_error(Error{ErrorCode::overloaded, "too many requests are waiting"}));
    services_.metrics.answered(reply.status);
    exchange->reply(std::move(reply));
}

HttpReply Routes::live(const HttpRequest&, const Model& model) {
    if (model && model->engine->stalled(options_.stall_limit)) {
        ApiError error = api_error(503, "work waits, and the engine makes no progress");
        error.code = "stalled";
        return openai_error_reply(error);
    }
    return json_reply(R"({"status":"live"})");
}

HttpReply Routes::ready(const HttpRequest& request, const Model& model) {
    HttpReply reply = live(request, model);
    return reply.status == 200 ? json_reply(R"({"status":"ready"})") : reply;
}

HttpReply Routes::models(const HttpRequest&, const Model& model) {
    std::string body;
    JsonWriter json(body);
    json.begin_object().string("object", "list").key("data").begin_array();
    for (const std::string& name : model->names) append_model(json, name, *model);
    json.end_array().end_object();
    return json_reply(std::move(body));
}

HttpReply Routes::one_model(const HttpRequest& request, const Model& model) {
    // A name may hold a slash, sent as it is or as %2F. It is compared and never a path.
    constexpr std::string_view kPrefix = "/v1/models/";
    const auto name = percent_decode(std::string_view(request.path).substr(kPrefix.size()));
    if (name && std::find(model->names.begin(), model->names.end(), *name) != model->names.end()) {
        std::string body;
        JsonWriter json(body);
        append_model(json, *name, *model);
        return json_reply(std::move(body));
    }
    return openai_error_reply(api_error(Error{
        ErrorCode::not_found, fmt::format("model: {} is not served here", in_quotes(name.value_or(""))), "model"}));
}

HttpReply Routes::metrics(const HttpRequest&, const Model& model) {
    return {.body = services_.metrics.text(*model, model->engine->stats(), *http_stats_, options_.vllm_metric_names,
                                           options_.gauges ? options_.gauges() : std::vector<Gauge>{}),
            .content_type = "text/plain; version=0.0.4; charset=utf-8"};
}

HttpReply Routes::version(const HttpRequest&, const Model&) {
    std::string body;
    JsonWriter(body).begin_object().string("version", options_.version).end_object();
    return json_reply(std::move(body));
}

Result<Routes::Outcome> Routes::chat(const HttpRequest& request, const std::string& body, const Model& model) {
    TRY(auto answer, make_chat_answer(request, body, model, services_));
    return Outcome(std::move(answer));
}

Result<Routes::Outcome> Routes::completions(const HttpRequest& request, const std::string& body, const Model& model) {
    TRY(auto answer, make_completions_answer(request, body, model, services_));
    return Outcome(std::move(answer));
}

Result<Routes::Outcome> Routes::tokenize_text(const HttpRequest&, const std::string& body, const Model& model) {
    TRY(auto reply, tokenize(body, *model, services_));
    return Outcome(std::move(reply));
}

Result<Routes::Outcome> Routes::detokenize_ids(const HttpRequest&, const std::string& body, const Model& model) {
    TRY(auto reply, detokenize(body, *model, services_));
    return Outcome(std::move(reply));
}

Result<Routes::Outcome> Routes::render_template(const HttpRequest&, const std::string& body, const Model& model) {
    TRY(auto reply, apply_template(body, *model, services_));
    return Outcome(std::move(reply));
}

}  // namespace nibble::server
