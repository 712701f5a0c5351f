// serve: answers HTTP requests until a signal comes.
//
// The main thread owns the signals, which every other thread has blocked: it binds the port, has a second thread load
// the model, and waits. The first SIGINT or SIGTERM drains, the second cuts.
#include "base/bytes.h"
#include "base/files.h"
#include "cli/flags.h"
#include "cli/log.h"
#include "cli/memory_guard.h"
#include "cli/model_flags.h"
#include "cli/option_checks.h"
#include "cli/progress.h"
#include "cli/session.h"
#include "cli/verb.h"
#include "cli/version.h"
#include "server/server.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <pthread.h>
#include <unistd.h>

namespace nibble::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct ServeFlags {
    ModelFlags model;
    std::string host = "127.0.0.1";
    int port = 8000;
    std::string uds;
    std::vector<std::string> api_keys, served_names, origins;
    std::string api_key_file;
    bool insecure_public = false;
    std::optional<int64_t> max_queue;
    double drain_seconds = 30;
    bool log_jsonl = false;
};

constexpr int kWake = SIGUSR1;  // the loading thread to the main thread: done
constexpr uint64_t kKeyFileLimit_bytes = 1 << 20;

sigset_t our_signals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : {SIGINT, SIGTERM, kWake}) sigaddset(&set, signal);
    return set;
}

int wait_for_signal(const sigset_t& set) {
    int signal = 0;
    while (sigwait(&set, &signal) != 0) {
    }
    return signal;
}

// Keys of a file, one a line; blank lines and those that begin with # do not count.
Result<void> read_key_file(const std::string& path, std::vector<std::string>& keys) {
    auto text = read_whole_file(path, kKeyFileLimit_bytes);
    if (!text) return error(ErrorCode::usage, "--api-key-file: {}", text.error().message);
    const size_t before = keys.size();
    for (size_t begin = 0; begin < text->size();) {
        const size_t end = std::min(text->find('\n', begin), text->size());
        std::string key = text->substr(begin, end - begin);
        if (!key.empty() && key.back() == '\r') key.pop_back();
        if (!key.empty() && key.front() != '#') keys.push_back(std::move(key));
        begin = end + 1;
    }
    if (keys.size() == before) return error(ErrorCode::usage, "--api-key-file: {} holds no key", path);
    return {};
}

// The figures of /metrics that only whoever loaded the model knows, filled once before the model is ready, and whether
// the guard lets new work in.
class Figures {
public:
    void set(std::vector<server::Gauge> gauges) {
        const std::lock_guard lock(mutex_);
        gauges_ = std::move(gauges);
    }
    void set_admission(bool open) {
        const std::lock_guard lock(mutex_);
        open_ = open;
    }
    std::vector<server::Gauge> get() const {
        const std::lock_guard lock(mutex_);
        std::vector<server::Gauge> gauges = gauges_;
        gauges.push_back(
            {"admission_open", "1 while new work is taken, 0 while the host is short of memory.", open_ ? 1.0 : 0.0});
        return gauges;
    }

private:
    mutable std::mutex mutex_;
    std::vector<server::Gauge> gauges_;
    bool open_ = true;
};

std::vector<server::Gauge> figures_of(const Session& session) {
    std::vector<server::Gauge> gauges = {
        {"bytes_per_token", "Memory read and written for one token of one sequence at the beginning of its context.",
         static_cast<double>(session.bytes_per_token(1))},
        {"memory_planned_bytes", "Memory that the plan gives to weights, caches and scratch.",
         static_cast<double>(session.plan().total_bytes)},
        {"memory_budget_bytes", "Memory that the plan may give.", static_cast<double>(session.plan().budget_bytes)},
    };
    if (session.bandwidth() > 0) {
        gauges.push_back(
            {"read_bandwidth_bytes_per_second", "Read bandwidth measured at the start.", session.bandwidth()});
        gauges.push_back({"ceiling_tokens_per_second",
                          "Tokens per second of one sequence, were reading memory all that takes time.",
                          session.ceiling()});
    }
    return gauges;
}

std::string model_text(const Session& session) {
    const model::Spec& spec = session.model().spec();
    std::string text =
        fmt::format("{}: {}, {} layers, {} of weights on {}", session.served_model().names.front(), spec.family,
                    spec.layers, describe_bytes(static_cast<uint64_t>(spec.weight_bytes)), session.device().name);
    if (session.bytes_read() > 0 && session.read_seconds() > 0) {
        const double bytes = static_cast<double>(session.bytes_read());
        text += fmt::format(", read in {:.2f} s at {:.1f} GB/s", session.read_seconds(),
                            bytes / 1e9 / session.read_seconds());
    }
    return text;
}

// What one token costs, and what that allows.
std::string cost_text(const Session& session) {
    const int64_t bytes = session.bytes_per_token(1), context = session.plan().context;
    std::string text = fmt::format("one token reads {:.1f} MB of memory", static_cast<double>(bytes) / 1e6);
    if (context > 1) {
        const int64_t full = session.bytes_per_token(context - 1);
        text += fmt::format(", {:.1f} MB at {} tokens of context", static_cast<double>(full) / 1e6, context);
    }
    if (session.bandwidth() > 0)
        text += fmt::format("; at the {:.1f} GB/s measured the ceiling is {:.1f} tokens/s", session.bandwidth() / 1e9,
                            session.ceiling());
    return text;
}

// A line to paste. A unix socket and a key are named as curl wants them.
std::string curl_line(const ServeFlags& flags, const server::Server& server, const server::ServedModel& model) {
    const std::string where =
        flags.uds.empty() ? server.address() : fmt::format("--unix-socket {} http://localhost", flags.uds);
    const std::string key = flags.api_keys.empty() ? "" : "-H 'Authorization: Bearer KEY' ";
    if (model.chat_template)
        return fmt::format(
            "curl {}/v1/chat/completions {}-H 'Content-Type: application/json' -d '{{\"model\": \"{}\", "
            "\"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}'",
            where, key, model.names.front());
    return fmt::format(
        "curl {}/v1/completions {}-H 'Content-Type: application/json' -d '{{\"model\": \"{}\", "
        "\"prompt\": \"Once upon a time\"}}'",
        where, key, model.names.front());
}

Result<std::unique_ptr<server::Server>> listen_for(const ServeFlags& flags, const std::shared_ptr<Log>& log,
                                                   const std::shared_ptr<Figures>& figures) {
    server::ServerOptions options;
    options.http.host = flags.host;
    options.http.port = static_cast<uint16_t>(flags.port);
    options.http.unix_socket = flags.uds;
    options.routes.access.api_keys = flags.api_keys;
    options.routes.access.allowed_origins = flags.origins;
    options.routes.version = version();
    options.routes.gauges = [figures] { return figures->get(); };
    options.public_without_key = flags.insecure_public;
    options.strict = flags.model.strict;
    options.log = [log](const std::string& line) { log->line(line); };
    auto server = server::Server::bind(std::move(options));
    if (!server && server.error().code == ErrorCode::usage)
        server.error().message += " (--api-key, --api-key-file, or --insecure-public)";
    return server;
}

// On memory that the host's programs share: admission closes before the kernel stalls. Null on a discrete GPU.
Result<std::unique_ptr<MemoryGuard>> watch_memory(Session& session, server::Server& server,
                                                  const std::shared_ptr<Log>& log,
                                                  const std::shared_ptr<Figures>& figures) {
    if (!session.device().is_cpu() && !session.device().unified_memory) return std::unique_ptr<MemoryGuard>();
    MemoryGuard::Options options;
    options.on_change = [&session, &server, log, figures](Admittance state, const MemoryPressure& pressure) {
        figures->set_admission(state == Admittance::open);
        if (state == Admittance::open) {
            server.set_refusing(std::nullopt);
            log->line(fmt::format("memory: {}: new requests are taken again", describe(pressure)));
            return;
        }
        server.set_refusing(fmt::format("the host is short of memory: {}", describe(pressure)));
        if (state == Admittance::shedding) session.engine().shed_waiting();
        log->warning(fmt::format("memory: {}: new requests are refused{}", describe(pressure),
                                 state == Admittance::shedding ? ", those that wait are ended" : ""));
    };
    options.on_error = [log](const Error& failure) { log->warning(fmt::format("memory: {}", failure.message)); };
    return MemoryGuard::start(std::move(options));
}

Result<int> serve(ServeFlags flags, const Settings& settings) {
    if (flags.model.print_config) {
        fmt::print("{}", describe(settings));
        return 0;
    }
    TRY(const bool demo, default_to_demo(flags.model));
    if (!flags.api_key_file.empty()) TRY_VOID(read_key_file(flags.api_key_file, flags.api_keys));

    const auto start = Clock::now();
    const sigset_t signals = our_signals();
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // before there is a thread to inherit it
    const pthread_t main_thread = pthread_self();

    const auto log = std::make_shared<Log>(flags.log_jsonl ? Log::Format::jsonl : Log::Format::text);
    if (demo) log->line(kDemoTaken);
    if (!prefer_for_oom_kill())
        log->warning("oom_score_adj cannot be raised: the kernel may end another program first");
    const auto figures = std::make_shared<Figures>();
    std::unique_ptr<Session> session;  // its engine outlives the server
    TRY(const std::unique_ptr<server::Server> server, listen_for(flags, log, figures));
    log->line(fmt::format("listening on {}", server->address()));

    std::optional<Error> failure;
    std::thread loader([&] {
        ProgressBar bar(!flags.log_jsonl && stderr_is_terminal());
        SessionOptions options;
        options.max_queue = flags.max_queue.value_or(0);
        options.served_names = flags.served_names;
        options.measure_bandwidth = true;
        options.remark = [&](const std::string& line) { log->warning(line); };
        options.planned = [&](const Plan& plan) {
            log->say(fmt::format("memory: {} sequences at once, up to {} tokens each\n{}", plan.sequences, plan.context,
                                 describe(plan)));
            log->flush();
        };
        options.progress = [&](std::string_view stage, int64_t bytes, int64_t total) {
            bar.update(stage, bytes, total);
            server->set_loading(std::string(stage),
                                total > 0 ? 100.0 * static_cast<double>(bytes) / static_cast<double>(total) : 0);
        };
        auto opened = Session::open(flags.model, options);
        bar.clear();
        if (opened) {
            session = *std::move(opened);
            figures->set(figures_of(*session));
            server->set_ready(session->served_model());
        } else {
            failure = std::move(opened).error();
        }
        pthread_kill(main_thread, kWake);
    });

    if (const int signal = wait_for_signal(signals); signal != kWake) {
        // Nobody is being answered yet, and half a model is of no use.
        log->line("stopped while loading");
        log->flush();
        if (!flags.uds.empty()) ::unlink(flags.uds.c_str());
        _exit(128 + signal);
    }
    loader.join();
    if (failure) return *failure;

    TRY(const std::unique_ptr<MemoryGuard> guard, watch_memory(*session, *server, log, figures));
    log->say(model_text(*session));
    log->say(cost_text(*session));
    log->say(fmt::format("READY in {:.1f} s", std::chrono::duration<double>(Clock::now() - start).count()));
    log->say(curl_line(flags, *server, session->served_model()));

    const int first = wait_for_signal(signals);
    log->line(fmt::format("{}: draining, at most {:g} s; again to stop at once", first == SIGINT ? "SIGINT" : "SIGTERM",
                          flags.drain_seconds));
    bool complete = false;
    std::thread drainer([&] {
        complete = server->drain(std::chrono::milliseconds(static_cast<int64_t>(flags.drain_seconds * 1000)));
        pthread_kill(main_thread, kWake);
    });
    int status = 0;
    for (int signal = wait_for_signal(signals); signal != kWake; signal = wait_for_signal(signals)) {
        if (status != 0) _exit(status);  // a third time
        status = 128 + signal;
        server->cut();
    }
    drainer.join();
    log->line(status != 0 ? "stopped" : complete ? "drained" : "drained; what was left was cut");
    return status;
}

}  // namespace

void add_serve(CLI::App& program, Action& action) {
    CLI::App* verb = program.add_subcommand("serve", "Answer HTTP requests");
    const auto flags = std::make_shared<ServeFlags>();
    add_model_flags(*verb, flags->model);
    verb->get_option("model")->default_str("demo");
    verb->get_option("--max-num-seqs")->default_str("64, or what fits");
    verb->add_option("--host", flags->host, "Where to listen; a public address wants an API key")
        ->capture_default_str()
        ->type_name("ADDRESS");
    verb->add_option("--port", flags->port, "0 takes a free one and prints it")
        ->capture_default_str()
        ->check(in_range(0, 65535))
        ->type_name("N");
    verb->add_option("--uds", flags->uds, "A unix socket instead")->type_name("PATH");
    verb->add_option("--api-key", flags->api_keys, "Clients must send it; may be repeated")
        ->type_name("KEY")
        ->allow_extra_args(false);
    verb->add_option("--api-key-file", flags->api_key_file, "Keys, one a line")->type_name("FILE");
    verb->add_flag("--insecure-public", flags->insecure_public, "A public address without a key, after all");
    verb->add_option("--served-model-name", flags->served_names, "What requests may call the model; may be repeated")
        ->type_name("NAME")
        ->allow_extra_args(false);
    verb->add_option("--max-queue", flags->max_queue, "Requests that wait; more are answered 429")
        ->check(in_range(int64_t{1}, int64_t{1} << 20))
        ->type_name("N")
        ->default_str("4 a sequence");
    verb->add_option("--allow-origin", flags->origins, "A browser page's origin that may call; may be repeated")
        ->type_name("ORIGIN")
        ->allow_extra_args(false);
    verb->add_option("--drain-timeout", flags->drain_seconds, "How long running requests may go on after SIGTERM")
        ->capture_default_str()
        ->check(in_range(0.0, 86400.0))
        ->type_name("SECONDS");
    verb->add_flag("--log-jsonl", flags->log_jsonl, "The log as one JSON object a line");
    verb->callback(
        [&action, flags] { action = [flags](const Settings& settings) { return serve(*flags, settings); }; });
}

}  // namespace nibble::cli
