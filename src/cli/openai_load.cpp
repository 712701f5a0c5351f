#include "cli/openai_load.h"

#include "base/files.h"
#include "base/in_quotes.h"
#include "cli/json_document.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <thread>

namespace nibble::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kRequestFileLimit_bytes = uint64_t{256} << 20;

std::vector<std::pair<std::string, std::string>> key_fields(const OpenAiServer& server) {
    if (server.api_key.empty()) return {};
    return {{"Authorization", "Bearer " + server.api_key}};
}

// The message of an error body of any of the usual shapes, else its beginning.
std::string error_text(const std::string& body) {
    const Json json = parse_document(body);
    if (json.is_object()) {
        const auto error = json.find("error");
        if (error != json.end() && error->is_object() && error->contains("message") && (*error)["message"].is_string())
            return (*error)["message"].get<std::string>().substr(0, 400);
        if (error != json.end() && error->is_string()) return error->get<std::string>().substr(0, 400);
    }
    return in_quotes(body, 200);
}

int64_t integer_of(const Json& object, const char* name) {
    const auto field = object.find(name);
    return field != object.end() && field->is_number_integer() ? field->get<int64_t>() : 0;
}

// What the events of one answer say.
class AnswerTimes {
public:
    // False: the stream is at its end.
    bool take(std::string_view data) {
        if (data == "[DONE]") return false;
        const auto now = BenchClock::now();
        const Json chunk = parse_document(data);
        if (!chunk.is_object()) return true;
        if (chunk.contains("error")) {
            failure_ = error_text(std::string(data));
            return false;
        }
        if (const auto usage = chunk.find("usage"); usage != chunk.end() && usage->is_object()) {
            usage_tokens_ = integer_of(*usage, "completion_tokens");
            times_.prompt_tokens = integer_of(*usage, "prompt_tokens");
            if (const auto details = usage->find("prompt_tokens_details");
                details != usage->end() && details->is_object())
                times_.cached_tokens = integer_of(*details, "cached_tokens");
        }
        const auto choices = chunk.find("choices");
        if (choices == chunk.end() || !choices->is_array()) return true;
        for (const Json& choice : *choices)
            if (choice.is_object()) take_choice(choice, now);
        return true;
    }
    Result<StreamTimes> finish(BenchClock::time_point start) && {
        if (!failure_.empty()) return error(ErrorCode::peer_failed, "the answer broke off: {}", failure_);
        times_.start = start;
        times_.by_id = ids_ > 0;
        times_.arrivals = std::move(ids_ > 0 ? id_arrivals_ : piece_arrivals_);
        times_.output_tokens = ids_ > 0 ? ids_ : usage_tokens_;
        if (times_.output_tokens == 0) {
            times_.no_usage = true;
            times_.output_tokens = static_cast<int64_t>(times_.arrivals.size());
        }
        return std::move(times_);
    }

private:
    void take_choice(const Json& choice, BenchClock::time_point now) {
        if (const auto ids = choice.find("token_ids"); ids != choice.end() && ids->is_array() && !ids->empty()) {
            ids_ += static_cast<int64_t>(ids->size());
            id_arrivals_.insert(id_arrivals_.end(), ids->size(), now);
        }
        const auto has_text = [](const Json& object) {
            for (const char* field : {"text", "content", "reasoning_content", "reasoning"})
                if (const auto text = object.find(field);
                    text != object.end() && text->is_string() && !text->get_ref<const std::string&>().empty())
                    return true;
            return object.contains("tool_calls");
        };
        const auto delta = choice.find("delta");
        const bool chat = delta != choice.end() && delta->is_object();
        // A completion's piece may be empty: half a character, held back. A chat's first one is its role.
        const auto text = choice.find("text"), finish = choice.find("finish_reason");
        const bool held_back =
            !chat && text != choice.end() && text->is_string() && (finish == choice.end() || finish->is_null());
        if (held_back || has_text(chat ? *delta : choice)) piece_arrivals_.push_back(now);
    }

    StreamTimes times_;
    std::vector<BenchClock::time_point> id_arrivals_, piece_arrivals_;
    int64_t ids_ = 0, usage_tokens_ = 0;
    std::string failure_;
};

Result<StreamTimes> stream_one(const OpenAiServer& server, const OpenAiRequest& request) {
    AnswerTimes times;
    EventReader events;
    HttpCall call{.target = request.target, .body = request.body, .fields = key_fields(server)};
    call.fields.emplace_back("Accept", "text/event-stream");
    const auto start = BenchClock::now();
    TRY(const HttpAnswer answer, http_exchange(server.url, call, [&](std::string_view piece) {
            return events.push(piece, [&](std::string_view data) { return times.take(data); });
        }));
    if (answer.status != 200)
        return error(ErrorCode::peer_failed, "{} was answered {}: {}", request.target, answer.status,
                     error_text(answer.body));
    return std::move(times).finish(start);
}

void set_streaming(Json& body, const OpenAiServer& server) {
    body["model"] = server.model;
    body["stream"] = true;
    body["stream_options"] = {{"include_usage", true}};
    body["return_token_ids"] = true;
}

}  // namespace

Result<ServerIdentity> ask_identity(const OpenAiServer& server) {
    TRY(const HttpAnswer answer, http_exchange(server.url, {.method = "GET",
                                                            .target = "/v1/models",
                                                            .body = {},
                                                            .fields = key_fields(server),
                                                            .silence = std::chrono::seconds(30)}));
    if (answer.status != 200)
        return error(ErrorCode::peer_failed, "GET /v1/models was answered {}: {}", answer.status,
                     error_text(answer.body));
    const Json json = parse_document(answer.body);
    const auto data = json.is_object() ? json.find("data") : json.end();
    if (!json.is_object() || data == json.end() || !data->is_array() || data->empty() || !(*data)[0].is_object() ||
        !(*data)[0].contains("id") || !(*data)[0]["id"].is_string())
        return error(ErrorCode::peer_failed, "GET /v1/models names no model: {}", in_quotes(answer.body, 200));
    return ServerIdentity{.model = (*data)[0]["id"].get<std::string>(), .software = answer.server};
}

OpenAiRequest completion_request(const OpenAiServer& server, std::span<const int32_t> prompt, int64_t max_tokens) {
    Json body = {{"prompt", prompt}, {"max_tokens", max_tokens}, {"temperature", 0}, {"ignore_eos", true}};
    set_streaming(body, server);
    return {.target = "/v1/completions", .body = body.dump()};
}

Result<std::vector<OpenAiRequest>> read_requests(const std::filesystem::path& file, const OpenAiServer& server) {
    TRY(const std::string text, read_whole_file(file, kRequestFileLimit_bytes));
    std::vector<OpenAiRequest> requests;
    size_t line = 0;
    for (size_t begin = 0; begin < text.size();) {
        const size_t end = std::min(text.find('\n', begin), text.size());
        const std::string_view row(text.data() + begin, end - begin);
        begin = end + 1;
        ++line;
        if (row.find_first_not_of(" \t\r") == std::string_view::npos) continue;
        const auto refuse = [&](std::string_view what) {
            return error(ErrorCode::usage, "{}:{}: {}", file.string(), line, what);
        };
        Json body = parse_document(row);
        if (!body.is_object()) return refuse("expected a request's body, a JSON object");
        if (body.contains("body") && body["body"].is_object()) {
            Json inner = std::move(body["body"]);
            body = std::move(inner);
        }
        const bool chat = body.contains("messages");
        if (!chat && !body.contains("prompt")) return refuse("expected a field messages or prompt");
        set_streaming(body, server);
        requests.push_back({.target = chat ? "/v1/chat/completions" : "/v1/completions",
                            .body = body.dump(-1, ' ', false, Json::error_handler_t::replace)});
    }
    if (requests.empty()) return error(ErrorCode::usage, "{} holds no request", file.string());
    return requests;
}

Result<std::vector<StreamTimes>> run_load(const OpenAiServer& server, std::span<const OpenAiRequest> requests,
                                          int64_t concurrency) {
    std::vector<StreamTimes> times(requests.size());
    std::atomic<size_t> next = 0;
    std::mutex mutex;
    std::optional<Error> failure;
    const auto work = [&] {
        for (size_t i = next++; i < requests.size(); i = next++) {
            auto one = stream_one(server, requests[i]);
            const std::lock_guard lock(mutex);
            if (one) {
                times[i] = *std::move(one);
            } else {
                if (!failure) {
                    failure = std::move(one).error();
                    failure->message = fmt::format("request {}: {}", i + 1, failure->message);
                }
                next = requests.size();
            }
        }
    };
    {
        std::vector<std::jthread> workers;
        const size_t count = std::min(requests.size(), static_cast<size_t>(std::max<int64_t>(concurrency, 1)));
        try {
            for (size_t i = 0; i < count; ++i) workers.emplace_back(work);
        } catch (const std::system_error& refused) {
            next = requests.size();
            return error(ErrorCode::io, "{} threads for requests cannot be started: {}", count, refused.what());
        }
    }
    if (failure) return *std::move(failure);
    return times;
}

}  // namespace nibble::cli
