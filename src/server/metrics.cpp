#include "server/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <limits>
#include <sstream>

namespace nibble::server {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

// Collects families; `labels` go on every metric.
class Page {
public:
    explicit Page(std::vector<ClientMetric::Label> labels) : labels_(std::move(labels)) {}

    void gauge(std::string name, std::string help, double value) {
        add(std::move(name), std::move(help), MetricType::Gauge).gauge.value = value;
    }
    void counter(std::string name, std::string help, double value) {
        add(std::move(name), std::move(help), MetricType::Counter).counter.value = value;
    }
    // One family with a metric for each value of one label.
    template <class Map>
    void counters(std::string name, std::string help, const std::string& label, const Map& values) {
        MetricFamily& family = families_.emplace_back();
        family.name = std::move(name);
        family.help = std::move(help);
        family.type = MetricType::Counter;
        for (const auto& [key, value] : values) {
            ClientMetric& metric = family.metric.emplace_back();
            metric.label = labels_;
            metric.label.push_back({label, text_of(key)});
            metric.counter.value = static_cast<double>(value);
        }
    }
    // Prometheus counts time in seconds.
    void seconds(std::string name, std::string help, const engine::Histogram& from) {
        ClientMetric::Histogram& to = add(std::move(name), std::move(help), MetricType::Histogram).histogram;
        uint64_t below = 0;
        for (size_t i = 0; i < from.kBounds_ms.size(); ++i)
            to.bucket.push_back(
                {.cumulative_count = below += from.counts[i], .upper_bound = from.kBounds_ms[i] / 1000});
        to.bucket.push_back({.cumulative_count = from.total, .upper_bound = std::numeric_limits<double>::infinity()});
        to.sample_count = from.total;
        to.sample_sum = from.sum_ms / 1000;
    }
    void info(std::string name, std::string help, std::vector<ClientMetric::Label> facts) {
        ClientMetric& metric = add(std::move(name), std::move(help), MetricType::Gauge);
        metric.gauge.value = 1;
        metric.label.insert(metric.label.end(), facts.begin(), facts.end());
    }
    std::string text() const {
        std::ostringstream out;
        prometheus::TextSerializer().Serialize(out, families_);
        return out.str();
    }

private:
    static std::string text_of(int value) { return std::to_string(value); }
    static std::string text_of(const std::string& value) { return value; }

    ClientMetric& add(std::string name, std::string help, MetricType type) {
        MetricFamily& family = families_.emplace_back();
        family.name = std::move(name);
        family.help = std::move(help);
        family.type = type;
        ClientMetric& metric = family.metric.emplace_back();
        metric.label = labels_;
        return metric;
    }

    std::vector<ClientMetric::Label> labels_;
    std::vector<MetricFamily> families_;
};

double used_share(const engine::Stats& stats) {
    return stats.pages_total > 0 ? static_cast<double>(stats.pages_used) / static_cast<double>(stats.pages_total) : 0;
}

void add_engine(Page& page, const engine::Stats& stats) {
    page.gauge("nibble_requests_running", "Sequences in the running batch", static_cast<double>(stats.running));
    page.gauge("nibble_requests_waiting", "Sequences in the queue", static_cast<double>(stats.waiting));
    page.gauge("nibble_kv_pages", "Pages of the key-value cache", static_cast<double>(stats.pages_total));
    page.gauge("nibble_kv_pages_used", "Pages of the key-value cache in use", static_cast<double>(stats.pages_used));
    page.gauge("nibble_state_slots", "Slots of recurrent state", static_cast<double>(stats.slots_total));
    page.gauge("nibble_state_slots_used", "Slots of recurrent state in use", static_cast<double>(stats.slots_used));
    page.gauge("nibble_step_age_seconds", "Since the last scheduler step ended; 0 when idle", stats.step_age_ms / 1000);
    page.counter("nibble_steps_total", "Scheduler steps", static_cast<double>(stats.steps));
    page.counter("nibble_step_seconds_total", "Time in scheduler steps", stats.step_ms_total / 1000);
    page.counter("nibble_prompt_tokens_total", "Prompt tokens computed", static_cast<double>(stats.prompt_tokens));
    page.counter("nibble_generated_tokens_total", "Tokens generated", static_cast<double>(stats.generated_tokens));
    page.counter("nibble_preemptions_total", "Sequences put back for want of pages",
                 static_cast<double>(stats.preemptions));
    page.counter("nibble_recomputed_tokens_total", "Tokens computed again after a preemption",
                 static_cast<double>(stats.recomputed_tokens));
    page.counter("nibble_rejected_total", "Requests refused by the engine", static_cast<double>(stats.rejected));
    page.counters("nibble_sequences_finished_total", "Sequences by how they ended", "reason",
                  std::map<std::string, uint64_t>{{"stop", stats.finished_stop},
                                                  {"length", stats.finished_length},
                                                  {"cancelled", stats.finished_cancelled},
                                                  {"error", stats.finished_error}});
    page.seconds("nibble_time_to_first_token_seconds", "From the queue to the first token", stats.time_to_first_token);
    page.seconds("nibble_inter_token_seconds", "Between the tokens of a sequence", stats.inter_token);
    page.seconds("nibble_end_to_end_seconds", "From the queue to the last token", stats.end_to_end);
    page.seconds("nibble_queue_seconds", "From the queue to running", stats.queue);
    page.seconds("nibble_prefill_seconds", "From running to the first token", stats.prefill);
}

void add_vllm(Page& page, const ServedModel& model, const engine::Stats& stats) {
    page.gauge("vllm:num_requests_running", "Sequences in the running batch", static_cast<double>(stats.running));
    page.gauge("vllm:num_requests_waiting", "Sequences in the queue", static_cast<double>(stats.waiting));
    page.gauge("vllm:kv_cache_usage_perc", "Share of the key-value cache in use, 1 is all", used_share(stats));
    page.counter("vllm:num_preemptions_total", "Sequences put back for want of pages",
                 static_cast<double>(stats.preemptions));
    page.counter("vllm:prompt_tokens_total", "Prompt tokens computed", static_cast<double>(stats.prompt_tokens));
    page.counter("vllm:generation_tokens_total", "Tokens generated", static_cast<double>(stats.generated_tokens));
    page.counters(
        "vllm:request_success_total", "Sequences by how they ended", "finished_reason",
        std::map<std::string, uint64_t>{
            {"stop", stats.finished_stop}, {"length", stats.finished_length}, {"abort", stats.finished_cancelled}});
    page.info("vllm:cache_config_info", "The key-value cache",
              {{"block_size", std::to_string(model.page_size)}, {"num_gpu_blocks", std::to_string(stats.pages_total)}});
    page.seconds("vllm:time_to_first_token_seconds", "From the queue to the first token", stats.time_to_first_token);
    page.seconds("vllm:inter_token_latency_seconds", "Between the tokens of a sequence", stats.inter_token);
    page.seconds("vllm:time_per_output_token_seconds", "Between the tokens of a sequence", stats.inter_token);
    page.seconds("vllm:e2e_request_latency_seconds", "From the queue to the last token", stats.end_to_end);
    page.seconds("vllm:request_queue_time_seconds", "From the queue to running", stats.queue);
    page.seconds("vllm:request_prefill_time_seconds", "From running to the first token", stats.prefill);
}

void add_http(Page& page, const HttpStats& http) {
    const auto value = [](const auto& number) { return static_cast<double>(number.load()); };
    page.gauge("nibble_http_connections", "Open connections", value(http.connections));
    page.gauge("nibble_http_exchanges", "Requests being answered", value(http.exchanges));
    page.counter("nibble_http_accepted_total", "Connections accepted", value(http.accepted));
    page.counter("nibble_http_refused_connections_total", "Connections refused, too many being open",
                 value(http.refused_connections));
    page.counter("nibble_http_malformed_total", "Requests refused for their framing", value(http.malformed));
    page.counter("nibble_http_timeouts_total", "Requests that did not come in time", value(http.timeouts));
    page.counter("nibble_http_stalled_total", "Clients dropped because they stopped reading", value(http.stalled));
    page.counter("nibble_http_disconnects_total", "Clients that left before their answer was complete",
                 value(http.disconnects));
    page.counter("nibble_http_sent_bytes_total", "Bytes sent", value(http.sent_bytes));
}

}  // namespace

void Metrics::finished(const RequestRecord& record) {
    const std::lock_guard lock(mutex_);
    ++finishes_[std::string(record.finish)];
    prompt_tokens_ += static_cast<uint64_t>(record.usage.prompt_tokens);
    cached_tokens_ += static_cast<uint64_t>(record.usage.cached_tokens);
    if (record.usage.completion_tokens > 0) decode_.add(record.times.decode_ms);
}

void Metrics::answered(int status) {
    const std::lock_guard lock(mutex_);
    ++answers_[status];
}

void Metrics::ignored_field(std::string_view name, uint64_t count) {
    const std::lock_guard lock(mutex_);
    ignored_fields_[name.empty() ? "other" : std::string(name)] += count;
}

std::string Metrics::text(const ServedModel& model, const engine::Stats& engine, const HttpStats& http, bool vllm_names,
                          const std::vector<Gauge>& more) const {
    Page page({{"model_name", model.names.front()}});
    add_engine(page, engine);
    add_http(page, http);
    {
        const std::lock_guard lock(mutex_);
        page.counters("nibble_answers_total", "Answers by HTTP status", "status", answers_);
        page.counters("nibble_requests_finished_total", "Generation requests by how they ended", "reason", finishes_);
        page.counters("nibble_ignored_fields_total", "Request fields without effect", "field", ignored_fields_);
        page.counter("nibble_prefix_cache_queries_total", "Prompt tokens of finished requests",
                     static_cast<double>(prompt_tokens_));
        page.counter("nibble_prefix_cache_hits_total", "Those of them found in the prefix cache",
                     static_cast<double>(cached_tokens_));
        page.seconds("nibble_decode_seconds", "From the first token of a request to its last", decode_);
        if (vllm_names) {
            page.counter("vllm:prefix_cache_queries_total", "Prompt tokens of finished requests",
                         static_cast<double>(prompt_tokens_));
            page.counter("vllm:prefix_cache_hits_total", "Those of them found in the prefix cache",
                         static_cast<double>(cached_tokens_));
            page.seconds("vllm:request_decode_time_seconds", "From the first token of a request to its last", decode_);
        }
    }
    if (vllm_names) add_vllm(page, model, engine);
    for (const Gauge& gauge : more) page.gauge("nibble_" + gauge.name, gauge.help, gauge.value);
    return page.text();
}

}  // namespace nibble::server
