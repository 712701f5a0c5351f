// Routes: which request goes where, who may ask, and what is answered before the model is there and after it is going.
//
// One table of routes. Every route wants the key, when keys are set, but the three of health. While the model loads all
// but /health/live answer 503 with {"stage", "percent"}; while the server drains, what makes work does. A wire adapter
// adds rows to the table and a file that makes its Answer.
#pragma once

#include "server/access.h"
#include "server/http.h"
#include "server/served_model.h"
#include "server/services.h"
#include "server/workers.h"

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace nibble::server {

struct RouteOptions {
    AccessOptions access;
    std::string version = "unknown";
    bool vllm_metric_names = true;
    std::chrono::milliseconds stall_limit{10'000};  // without a step while work waits: not live
    std::function<std::vector<Gauge>()> gauges;     // more figures for /metrics; any thread
};

class Routes final : public HttpHandler {
public:
    Routes(RouteOptions options, Services& services, Workers& workers);

    // Any thread.
    void set_loading(std::string stage, double percent);
    void set_ready(std::shared_ptr<const ServedModel> model);
    void set_draining();
    // While there is a reason, new work is answered 503, and so is /health/ready; what runs goes on.
    void set_refusing(std::optional<std::string> reason);
    void set_http_stats(const HttpStats& stats) { http_stats_ = &stats; }  // before the first request

    std::optional<HttpReply> admit(const RequestHead& head) override;
    void handle(const std::shared_ptr<Exchange>& exchange) override;
    std::string error_body(int status, std::string_view message) override;
    std::vector<std::pair<std::string_view, std::string>> origin_fields(std::string_view origin) override;

private:
    enum class Phase { loading, ready, draining };
    using Outcome = std::variant<HttpReply, std::unique_ptr<Answer>>;
    using Model = std::shared_ptr<const ServedModel>;
    struct Route {
        std::string_view path;    // one that ends in '/' stands for all below it
        bool post = false;        // else GET and HEAD
        bool open = false;        // no key
        bool always = false;      // in every phase
        bool makes_work = false;  // not while draining
        // One of the two. `make` may take milliseconds and runs on a worker.
        HttpReply (Routes::*answer)(const HttpRequest& request, const Model& model) = nullptr;
        Result<Outcome> (Routes::*make)(const HttpRequest& request, const std::string& body,
                                        const Model& model) = nullptr;
    };
    static const std::vector<Route>& table();
    static const Route* find(std::string_view path);
    std::optional<HttpReply> refuse(const Route* route, const RequestHead& head);
    HttpReply unready(Phase phase);

    HttpReply live(const HttpRequest& request, const Model& model);
    HttpReply ready(const HttpRequest& request, const Model& model);
    HttpReply models(const HttpRequest& request, const Model& model);
    HttpReply one_model(const HttpRequest& request, const Model& model);
    HttpReply metrics(const HttpRequest& request, const Model& model);
    HttpReply version(const HttpRequest& request, const Model& model);
    Result<Outcome> chat(const HttpRequest& request, const std::string& body, const Model& model);
    Result<Outcome> completions(const HttpRequest& request, const std::string& body, const Model& model);
    Result<Outcome> tokenize_text(const HttpRequest& request, const std::string& body, const Model& model);
    Result<Outcome> detokenize_ids(const HttpRequest& request, const std::string& body, const Model& model);
    Result<Outcome> render_template(const HttpRequest& request, const std::string& body, const Model& model);

    Phase phase() const;
    std::optional<std::string> refusing() const;
    Model model() const;

    RouteOptions options_;
    Access access_;
    Services& services_;
    Workers& workers_;
    const HttpStats* http_stats_ = nullptr;

    mutable std::mutex mutex_;  // guards what follows
    Phase phase_ = Phase::loading;
    std::optional<std::string> refusing_;
    std::string stage_ = "starting";
    double percent_ = 0;
    Model model_;
};

}  // namespace nibble::server
