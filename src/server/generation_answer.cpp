#include "server/generation_answer.h"

namespace nibble::server {

GenerationAnswer::GenerationAnswer(Generation::Spec spec, Services& services, const HttpRequest& request,
                                   std::string_view route)
    : generation_(std::move(spec)), services_(services), id_(request.id), route_(route), received_(request.received) {}

GenerationAnswer::~GenerationAnswer() {
    if (!ended_) record("disconnected");
}

void GenerationAnswer::start(Exchange& exchange) {
    auto started = generation_.start(exchange.waker());
    if (!started) {
        report_fault(services_, id_, started.error());
        fail(exchange, api_error(started.error()));
        return;
    }
    if (params().stream) {
        streaming_ = true;
        services_.metrics.answered(200);
        exchange.start_events();
    }
    advance(exchange);
}

void GenerationAnswer::resume(Exchange& exchange) {
    advance(exchange);
}

void GenerationAnswer::cut(Exchange& exchange) {
    ApiError error = api_error(503, "the server is stopping; the answer was cut");
    error.code = "shutdown";
    if (!ended_) fail(exchange, error);
}

void GenerationAnswer::advance(Exchange& exchange) {
    if (ended_) return;
    std::string& events = exchange.events();
    auto pumped = generation_.pump(exchange, [&](GenerationDelta& delta) {
        if (delta.finish != Finish::none) last_finish_ = delta.finish;
        if (streaming_)
            write_delta(events, delta);
        else
            keep_delta(delta);
    });
    if (!pumped) {
        report_fault(services_, id_, pumped.error());
        fail(exchange, api_error(pumped.error()));
        return;
    }
    if (generation_.done()) {
        ended_ = true;
        record(finish_name(last_finish_));
        if (streaming_) {
            write_end(events);
            exchange.finish_events();
        } else {
            services_.metrics.answered(200);
            exchange.reply({.body = whole()});
        }
        return;
    }
    if (streaming_) exchange.flush();
}

void GenerationAnswer::fail(Exchange& exchange, const ApiError& error) {
    ended_ = true;
    generation_.cancel();
    record("error");
    if (streaming_) {
        write_error(exchange.events(), error);
        exchange.finish_events();
    } else {
        services_.metrics.answered(error.status);
        exchange.reply(error_reply(error));
    }
}

void GenerationAnswer::record(std::string_view finish) {
    const RequestRecord record{
        .id = id_,
        .route = route_,
        .finish = finish,
        .choices = generation_.choices(),
        .stream = params().stream,
        .usage = generation_.usage(),
        .times = generation_.times(),
        .total_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - received_).count()};
    services_.metrics.finished(record);
    if (services_.log) services_.log(log_line(record));
}

}  // namespace nibble::server
