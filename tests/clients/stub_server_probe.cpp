// A whole server over a fake model, for tests with real clients: real HTTP, real tokenizer and template, the engine
// with StubExecutor below. What the model says is the prompt's business:
//
//   <<say:TEXT>>   it answers TEXT and ends;  <<ids:1,2,3>>  the same in token ids
//   <<nan:N>>      its arithmetic breaks at token N
//   anything else  a hash of the request, from the whole vocabulary
//
// Prints "PORT n", then takes commands from stdin, one a line, answering each with a line: loading STAGE PERCENT,
// ready, stats, tokenizer, drain MS, cut, quit. Flags: see main().
#include "engine/engine.h"
#include "engine/stub_executor.h"
#include "server/server.h"
#include "server/tiny_tokenizer.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <iostream>
#include <map>
#include <string>
#include <thread>
#include <unordered_map>

namespace {

using nibble::engine::TokenId;
using nibble::text::Tokenizer;

// What the prompt of a sequence makes the model say; found once a sequence, on the engine's thread.
class Script {
public:
    explicit Script(std::shared_ptr<const Tokenizer> tokenizer) : tokenizer_(std::move(tokenizer)) {}

    std::optional<TokenId> next(const nibble::engine::StepRow& row) {
        const Said& said = of(row);
        if (!said.scripted) return std::nullopt;
        return row.output.size() < said.tokens.size() ? said.tokens[row.output.size()] : nibble::server::kTinyEnd;
    }
    bool breaks(const nibble::engine::StepRow& row) {
        const Said& said = of(row);
        return said.breaks_at >= 0 && row.sample && static_cast<int64_t>(row.output.size()) == said.breaks_at;
    }

private:
    struct Said {
        bool scripted = false;
        std::vector<TokenId> tokens;
        int64_t breaks_at = -1;
    };

    const Said& of(const nibble::engine::StepRow& row) {
        const auto [place, fresh] = said_.try_emplace(row.sequence);
        if (!fresh) return place->second;
        order_.push_back(row.sequence);
        if (order_.size() > 4096) {
            said_.erase(order_.front());
            order_.pop_front();
        }
        Said& said = said_[row.sequence];
        const std::string prompt = tokenizer_->decode(row.prompt, false);
        const size_t open = prompt.rfind("<<"), close = prompt.rfind(">>");
        if (open == std::string::npos || close == std::string::npos || close < open) return said;
        const std::string order = prompt.substr(open + 2, close - open - 2);
        if (order.substr(0, 4) == "say:") {
            said.scripted = true;
            said.tokens = tokenizer_->encode(order.substr(4));
        } else if (order.substr(0, 4) == "ids:") {
            said.scripted = true;
            for (const char* at = order.data() + 4; at < order.data() + order.size();) {
                int id = 0;
                at = std::from_chars(at, order.data() + order.size(), id).ptr + 1;
                said.tokens.push_back(id);
            }
        } else if (order.substr(0, 4) == "nan:") {
            said.breaks_at = std::atoi(order.c_str() + 4);
        }
        return said;
    }

    std::shared_ptr<const Tokenizer> tokenizer_;
    std::unordered_map<int64_t, Said> said_;
    std::deque<int64_t> order_;
};

template <class T>
T must(nibble::Result<T> result) {
    if (result) return std::move(*result);
    fmt::print(stderr, "{}\n", result.error().message);
    std::exit(nibble::exit_code(result.error().code));
}

int64_t number(const std::map<std::string, std::string>& flags, const std::string& name, int64_t otherwise) {
    const auto found = flags.find(name);
    return found == flags.end() ? otherwise : std::atoll(found->second.c_str());
}

}  // namespace

int main(int argc, char** argv) {
    using namespace nibble;
    std::map<std::string, std::string> flags;  // --name=value
    server::ServerOptions options;
    for (int i = 1; i < argc; ++i) {
        const std::string flag = argv[i];
        const size_t equal = flag.find('=');
        const std::string name = flag.substr(0, equal);
        const std::string value = equal == std::string::npos ? "1" : flag.substr(equal + 1);
        if (name == "--api-key")
            options.routes.access.api_keys.push_back(value);
        else if (name == "--cors-origin")
            options.routes.access.allowed_origins.push_back(value);
        else
            flags[name] = value;
    }
    options.http.port = static_cast<uint16_t>(number(flags, "--port", 0));
    if (flags.count("--host")) options.http.host = flags["--host"];
    if (flags.count("--unix")) options.http.unix_socket = flags["--unix"];
    options.http.io_threads = static_cast<int>(number(flags, "--io-threads", 2));
    const auto deadline = [&](const std::string& name, std::chrono::milliseconds& value) {
        value = std::chrono::milliseconds(number(flags, name, value.count()));
    };
    deadline("--head-ms", options.http.head_deadline);
    deadline("--body-ms", options.http.body_deadline);
    deadline("--idle-ms", options.http.idle_deadline);
    deadline("--write-ms", options.http.write_deadline);
    deadline("--heartbeat-ms", options.http.heartbeat);
    options.strict = flags.count("--strict") > 0;
    options.public_without_key = flags.count("--public") > 0;
    options.routes.version = "0.1.0-stub";
    if (flags.count("--log")) options.log = [](const std::string& line) { fmt::print(stderr, "{}\n", line); };

    const auto server = must(server::Server::bind(options));
    fmt::print("PORT {}\n", server->port());
    std::fflush(stdout);

    auto tokenizer = server::tiny_tokenizer();
    auto script = std::make_shared<Script>(tokenizer);
    engine::StubOptions stub;
    stub.limits.vocab_size = server::kTinyVocabulary;
    stub.limits.max_step_rows = stub.limits.slots = number(flags, "--slots", 64);
    stub.limits.max_logit_rows = 1024;
    stub.limits.pages = number(flags, "--pages", 8192);
    stub.limits.max_context = number(flags, "--context", 4096);
    stub.step_delay = std::chrono::microseconds(number(flags, "--step-us", 0));
    stub.script = [script](const engine::StepRow& row) { return script->next(row); };
    stub.numerical_error = [script](const engine::StepRow& row) { return script->breaks(row); };
    const auto engine = std::make_unique<engine::Engine>(
        std::make_unique<engine::StubExecutor>(stub),
        engine::EngineOptions{.max_sequences = stub.limits.slots, .max_queue = number(flags, "--queue", 256)});

    server::ServedModel model{.names = {"stub", "org/stub-model"}, .tokenizer = tokenizer};
    if (!flags.count("--no-template"))
        model.chat_template = must(text::ChatTemplate::parse(server::kTinyTemplate, "stub", "", "<|im_end|>"));
    model.output_format = {.reasoning = text::ReasoningFormat::think_tags, .tools = text::ToolFormat::hermes};
    model.defaults.eos_ids = {server::kTinyEnd};
    model.defaults.temperature = 0;
    model.max_context = stub.limits.max_context;
    model.vocab_size = stub.limits.vocab_size;
    model.page_size = stub.limits.page_size;
    model.created = 1'700'000'000;
    model.engine = engine.get();
    if (!flags.count("--loading")) server->set_ready(model);

    std::thread drain;
    std::string line;
    while (std::getline(std::cin, line)) {
        const std::string command = line.substr(0, line.find(' '));
        std::string answer = "ok";
        if (command == "loading") {
            const size_t last = line.rfind(' ');
            server->set_loading(line.substr(8, last - 8), std::atof(line.c_str() + last));
        } else if (command == "ready") {
            server->set_ready(model);
        } else if (command == "stats") {
            const engine::Stats stats = engine->stats();
            const server::HttpStats& http = server->http_stats();
            answer = fmt::format(
                R"({{"running":{},"waiting":{},"pages_used":{},"slots_used":{},"cancelled":{},"generated":{},"connections":{},"exchanges":{},"stalled":{}}})",
                stats.running, stats.waiting, stats.pages_used, stats.slots_used, stats.finished_cancelled,
                stats.generated_tokens, http.connections.load(), http.exchanges.load(), http.stalled.load());
        } else if (command == "drain") {
            if (drain.joinable()) drain.join();
            drain = std::thread([&, limit = std::atoll(line.c_str() + 6)] {
                const bool complete = server->drain(std::chrono::milliseconds(limit));
                fmt::print("DRAINED {}\n", complete ? "complete" : "cut");
                std::fflush(stdout);
            });
        } else if (command == "cut") {
            server->cut();
        } else if (command == "tokenizer") {
            answer = server::tiny_tokenizer_json();
        } else if (command == "quit") {
            break;
        } else {
            answer = "unknown command";
        }
        fmt::print("{}\n", answer);
        std::fflush(stdout);
    }
    server->cut();
    if (drain.joinable()) drain.join();
    return 0;
}
