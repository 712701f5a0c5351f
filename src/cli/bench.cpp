// bench: how fast a model is run, beside what memory allows: in this process, or by any server that speaks OpenAI.
//
// In-process, generations go through the engine that serve uses. Prompts are random token ids, different in every
// request, or the requests of a file. The ceiling is the read bandwidth probed around every round over the bytes of the
// recorded Program, so a share is printed with every figure. Decoding is timed from the moment when every sequence has
// its first token.
#include "base/files.h"
#include "cli/bench_local.h"
#include "cli/bench_picture.h"
#include "cli/bench_record.h"
#include "cli/checksum.h"
#include "cli/flags.h"
#include "cli/model_flags.h"
#include "cli/model_outline.h"
#include "cli/openai_load.h"
#include "cli/option_checks.h"
#include "cli/progress.h"
#include "cli/read_bandwidth.h"
#include "cli/routing_file.h"
#include "cli/session.h"
#include "cli/text_table.h"
#include "cli/verb.h"
#include "cli/version.h"
#include "server/server.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <xxhash.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace nibble::cli {
namespace {

using Json = nlohmann::ordered_json;

struct BenchFlags {
    ModelFlags model;
    std::vector<int64_t> concurrency = {1}, prompt_tokens = {128};
    int64_t output_tokens = 128, repeats = 3, vocab_size = 32000;
    uint64_t seed = 1;
    bool same_prompt = false, profile = false, json = false;
    std::string url, api_key, requests, svg, routing;

    std::string compare_a, compare_b;
    bool compare_json = false;
};

constexpr uint64_t kRequestFileLimit_bytes = uint64_t{256} << 20;

// Where generations come from, and what is known beside them. What is not known stays empty or 0.
struct BenchTarget {
    std::string name, software;  // "in this process", "http://…"; what a server calls itself
    OpenAiServer server;
    std::vector<OpenAiRequest> requests;  // of the file; none: random prompts
    std::unique_ptr<Session> session;
    std::unique_ptr<server::Server> serving;  // the session, for replayed requests
    ModelOutline outline;                     // of MODEL, when it was given with a URL
    std::unique_ptr<ThreadPool> threads;      // for probing beside a server on this machine
    device::Device device;
    uint64_t next_prompt = 1;

    const model::Model* model() const { return session ? &session->model() : outline.model.get(); }
};

std::vector<int64_t> lengths_of(const BenchFlags& flags) {
    return flags.requests.empty() ? flags.prompt_tokens : std::vector<int64_t>{0};
}

Result<void> open_session(const BenchFlags& flags, BenchTarget& target) {
    const int64_t most = *std::max_element(flags.concurrency.begin(), flags.concurrency.end());
    ModelFlags model = flags.model;
    if (!model.max_num_seqs) model.max_num_seqs = most;
    const bool replayed = !flags.requests.empty();
    if (!model.max_model_len && !replayed)
        model.max_model_len =
            *std::max_element(flags.prompt_tokens.begin(), flags.prompt_tokens.end()) + flags.output_tokens + 80;
    ProgressBar bar(stderr_is_terminal());
    SessionOptions options;
    options.text = replayed;
    options.measure_bandwidth = true;
    options.remark = [](const std::string& line) { fmt::print(stderr, "{}\n", line); };
    options.progress = [&](std::string_view stage, int64_t bytes, int64_t total) { bar.update(stage, bytes, total); };
    auto opened = Session::open(model, options);
    bar.clear();
    if (!opened) return std::move(opened).error();
    target.session = *std::move(opened);
    target.device = target.session->device();
    target.name = "in this process";
    if (!flags.routing.empty()) {
        TRY_VOID(target.session->executor().count_experts());
        if (target.session->executor().expert_counts().empty())
            return error(ErrorCode::usage, "--write-routing: {} has no routed layer", flags.model.model);
    }
    if (!replayed) return {};
    // A file of requests is text: it takes the way of a client's, over a socket of this machine.
    server::ServerOptions served;
    served.http.port = 0;
    served.routes.version = version();
    TRY(target.serving, server::Server::bind(std::move(served)));
    target.serving->set_ready(target.session->served_model());
    TRY(target.server.url, parse_url(target.serving->address()));
    target.server.model = target.session->served_model().names.front();
    target.name = "in this process, over a socket";
    return {};
}

bool is_this_machine(const Url& url) {
    return url.host == "localhost" || url.host == "::1" || url.host.starts_with("127.");
}

Result<void> open_server(const BenchFlags& flags, BenchTarget& target) {
    for (const auto& [asked, flag] :
         {std::pair{flags.profile, "--profile"}, std::pair{!flags.routing.empty(), "--write-routing"}})
        if (asked) return error(ErrorCode::usage, "{} looks into this process: it does not go with --url", flag);
    TRY(target.server.url, parse_url(flags.url));
    target.server.api_key = flags.api_key;
    TRY(const ServerIdentity identity, ask_identity(target.server));
    target.server.model = identity.model;
    target.software = identity.software;
    target.name = flags.url;
    if (flags.model.model.empty()) return {};
    // With the folder the ceiling is known too: its bytes, and the bandwidth of the device that the server runs on.
    TRY(target.outline, outline_model(flags.model, {.known_devices = true, .headers_only = true}));
    target.device = target.outline.device;
    if (target.outline.described == nullptr && is_this_machine(target.server.url))
        target.threads = std::make_unique<ThreadPool>(flags.model.threads);
    return {};
}

// Bytes per second at this moment; 0: not known.
double probe(BenchTarget& target) {
    if (target.session) return probe_bandwidth(*target.session);
    if (target.outline.described != nullptr) return target.outline.described->read_gb_s * 1e9;
    if (!target.threads) return 0;
    const auto measured = measure_read_bandwidth(target.device, *target.threads);
    return measured ? *measured : 0;
}

Result<Round> run_round(const BenchFlags& flags, BenchTarget& target, int64_t concurrency, int64_t prompt_tokens) {
    std::vector<StreamTimes> times;
    if (!target.requests.empty()) {
        TRY(times, run_load(target.server, target.requests, concurrency));
        return summarise(times, concurrency);
    }
    const int64_t vocab = target.session ? target.session->model().spec().vocab_size : flags.vocab_size;
    std::vector<std::vector<int32_t>> prompts;
    for (int64_t i = 0; i < concurrency; ++i, ++target.next_prompt)
        prompts.push_back(random_prompt(prompt_tokens, vocab, flags.seed, flags.same_prompt ? 0 : target.next_prompt));
    if (target.session) {
        TRY(times, run_local(*target.session, prompts, flags.output_tokens));
    } else {
        std::vector<OpenAiRequest> requests;
        for (const auto& prompt : prompts)
            requests.push_back(completion_request(target.server, prompt, flags.output_tokens));
        TRY(times, run_load(target.server, requests, concurrency));
    }
    return summarise(times, concurrency);
}

Result<BenchRun> measure(const BenchFlags& flags, BenchTarget& target, int64_t concurrency, int64_t prompt_tokens) {
    BenchRun run{.concurrency = concurrency,
                 .prompt_tokens = prompt_tokens,
                 .output_tokens = target.requests.empty() ? flags.output_tokens : 0,
                 .repeats = flags.repeats};
    double before = probe(target);
    for (int64_t repeat = -1; repeat < flags.repeats; ++repeat) {  // the first warms up and is not counted
        TRY(Round round, run_round(flags, target, concurrency, prompt_tokens));
        const double after = probe(target), best = std::max(before, after);
        before = after;
        if (repeat < 0) continue;
        if (best > 0) run.bandwidths.push_back(best);
        run.rounds.push_back(std::move(round));
    }
    if (const model::Model* model = target.model(); model != nullptr) {
        // At the middle of what is decoded; of replayed requests, of the average one.
        const Round& round = run.rounds.back();
        const auto streams = static_cast<int64_t>(round.first_token_ms.size());
        const int64_t context = (round.prompt_tokens + round.output_tokens / 2) / std::max<int64_t>(streams, 1);
        const ops::Program step = model::record(*model, target.device, concurrency, 1, context);
        run.bytes_per_step = static_cast<double>(step.total().memory_bytes());
        run.expected_distinct_experts = mean_distinct_experts(step);
    }
    return run;
}

// ------------------------------------------------------------------------------------------------ record and table

std::string hash_of(std::string_view text) {
    return fmt::format("{:016x}", XXH3_64bits(text.data(), text.size()));
}

// What a server counted tokens by is what the figures rest on.
std::string counted_by(const std::vector<BenchRun>& runs) {
    bool by_id = true, no_usage = false;
    for (const BenchRun& run : runs)
        for (const Round& round : run.rounds) {
            by_id = by_id && round.by_id;
            no_usage = no_usage || round.no_usage;
        }
    return by_id ? "token ids" : no_usage ? "pieces of text" : "the server's usage";
}

Json first_lines(const BenchFlags& flags, const BenchTarget& target) {
    const std::time_t now = std::time(nullptr);
    Json record = {{"nibble_bench", 1},
                   {"started", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(now))},
                   {"target", target.name},
                   {"program", {{"version", version()}, {"commit", commit()}, {"compiler", compiler()}}}};
    if (!target.software.empty()) record["server"]["software"] = target.software;
    if (!target.server.model.empty()) record["server"]["model"] = target.server.model;
    record["model"]["name"] = flags.model.model.empty() ? target.server.model : flags.model.model;
    if (const model::Model* model = target.model(); model != nullptr) {
        record["model"]["family"] = model->spec().family;
        record["model"]["weight_bytes"] = model->spec().weight_bytes;
        if (target.session) record["model"]["random_weights"] = flags.model.random_weights;
        const auto folder = target.session ? target.session->checkpoint().folder() : target.outline.folder;
        if (const auto hash = hash_of_headers(folder))
            record["checkpoint"] = {{"hash", *hash}, {"of", "SHA-256 of configs, index and tensor headers"}};
        record["device"]["name"] = target.device.name;
        if (target.session && target.device.is_cpu()) record["device"]["threads"] = target.session->threads().size();
        record["device"]["described"] = target.outline.described != nullptr;
        record["device"]["state"] = device_state(target.device);
    }
    record["machine"] = machine_json();
    record["prompts"] = !flags.requests.empty() ? "of a file" : flags.same_prompt ? "identical" : "distinct random ids";
    record["seed"] = flags.seed;
    return record;
}

void print_head(const BenchFlags& flags, const BenchTarget& target) {
    fmt::print("{}{}, {}", flags.model.model.empty() ? target.server.model : flags.model.model,
               flags.model.random_weights ? " (random weights)" : "", target.name);
    if (const model::Model* model = target.model(); model != nullptr)
        fmt::print(", {} of {} weights on {}", decimal_bytes(static_cast<double>(model->spec().weight_bytes)),
                   model->spec().family, target.device.name);
    fmt::print("\n");
    if (flags.same_prompt)
        fmt::print("IDENTICAL PROMPTS: sequences share experts; not comparable with distinct ones\n");
    if (!target.requests.empty()) fmt::print("{} requests of {}\n", target.requests.size(), flags.requests);
    fmt::print("{:>6} {:>7} {:>7} | {:>10} {:>11} {:>9} {:>9} {:>7} | {:>11} | {:>8} {:>8} {:>8} | {:>7} {:>7} {:>7}\n",
               "conc", "prompt", "output", "decode t/s", "spread", "MB/step", "read GB/s", "share", "prefill t/s",
               "TTFT p50", "p90", "p99 ms", "ITL p50", "p90", "p99 ms");
}

std::string known(double value, int digits) {
    return value > 0 ? fmt::format("{:.{}f}", value, digits) : "-";
}

void print_run(const BenchRun& run) {
    std::vector<double> first, between, prefill;
    int64_t prompt = 0, output = 0, streams = 0;
    for (const Round& round : run.rounds) {
        first.insert(first.end(), round.first_token_ms.begin(), round.first_token_ms.end());
        between.insert(between.end(), round.between_ms.begin(), round.between_ms.end());
        prefill.push_back(round.prefill_tokens_per_second);
        prompt += round.prompt_tokens;
        output += round.output_tokens;
        streams += static_cast<int64_t>(round.first_token_ms.size());
    }
    const auto decode = run.decode();
    fmt::print(
        "{:>6} {:>7} {:>7} | {:>10.1f} {:>11} {:>9} {:>9} {:>7} | {:>11} | {:>8.1f} {:>8.1f} {:>8.1f} | {:>7.2f} "
        "{:>7.2f} {:>7.2f}\n",
        run.concurrency, prompt / std::max<int64_t>(streams, 1), output / std::max<int64_t>(streams, 1),
        quantile(decode, 0.5), fmt::format("{:.1f}-{:.1f}", quantile(decode, 0), quantile(decode, 1)),
        known(run.bytes_per_step / 1e6, 1), known(quantile(run.bandwidths, 0.5) / 1e9, 1),
        run.share() > 0 ? fmt::format("{:.1f}%", run.share() * 100) : "-", known(quantile(prefill, 0.5), 0),
        quantile(first, 0.5), quantile(first, 0.9), quantile(first, 0.99), quantile(between, 0.5),
        quantile(between, 0.9), quantile(between, 0.99));
    std::fflush(stdout);
}

void print_profile(const BenchRun& run, const ops::Program& program, const device::Device& target, double bandwidth) {
    const auto lines = summed(program);
    double all = 0;
    for (const ProfileLine& line : lines) all += line.microseconds;
    fmt::print("\nprofile of a decode step, concurrency {}: {}\n", run.concurrency,
               target.is_cpu() ? "each operation by the clock" : "each operation between two events of the GPU");
    TextTable table("<<>>>>>>");
    table.add({"op", "row", "count", "us", "% time", "MB", "GB/s", "% band"});
    for (const ProfileLine& line : lines) {
        const double rate = line.microseconds > 0 ? static_cast<double>(line.bytes) / line.microseconds / 1e3 : 0;
        table.add({line.what, line.row, std::to_string(line.count), fmt::format("{:.1f}", line.microseconds),
                   fmt::format("{:.1f}", line.microseconds / all * 100),
                   fmt::format("{:.1f}", static_cast<double>(line.bytes) / 1e6), fmt::format("{:.1f}", rate),
                   bandwidth > 0 ? fmt::format("{:.1f}", rate * 1e9 / bandwidth * 100) : "-"});
    }
    fmt::print("{}", table.text(0));
    if (run.measured_distinct_experts > 0)
        fmt::print("distinct experts a layer: {:.1f} read by random tokens, {:.1f} expected of independent choices\n",
                   run.measured_distinct_experts, run.expected_distinct_experts);
}

Json profile_json(int64_t concurrency, const ops::Program& program) {
    Json profile = {{"concurrency", concurrency}, {"ops", Json::array()}, {"steps", Json::array()}};
    for (const ProfileLine& line : summed(program))
        profile["ops"].push_back({{"op", line.what},
                                  {"row", line.row},
                                  {"count", line.count},
                                  {"microseconds", line.microseconds},
                                  {"bytes", line.bytes}});
    for (const ops::ProgramStep& step : program.steps)
        profile["steps"].push_back({{"module", step.module},
                                    {"op", step.op},
                                    {"format", step.format},
                                    {"shape", step.shape},
                                    {"row", step.row},
                                    {"microseconds", step.microseconds},
                                    {"bytes", step.cost.memory_bytes()}});
    return profile;
}

Result<void> write_file(const std::string& path, const std::string& content) {
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file << content;
    file.close();
    if (!file) return error(ErrorCode::io, "{} cannot be written", path);
    return {};
}

// What stands behind the last slash of a folder or of org/name.
std::string short_name(std::string name) {
    while (name.ends_with('/')) name.pop_back();
    return name.substr(name.rfind('/') + 1);
}

Result<int> bench(const BenchFlags& flags, const Settings& settings) {
    if (flags.model.print_config) {
        fmt::print("{}", describe(settings));
        return 0;
    }
    if (flags.url.empty() && flags.model.model.empty())
        return error(ErrorCode::usage, "MODEL is required: a folder, or org/name; or --url of a server");
    if (flags.same_prompt && !flags.requests.empty())
        return error(ErrorCode::usage, "--same-prompt is of random prompts: it does not go with --requests");
    BenchTarget target;
    TRY_VOID(flags.url.empty() ? open_session(flags, target) : open_server(flags, target));
    Json record = first_lines(flags, target);
    if (!flags.requests.empty()) {
        TRY(target.requests, read_requests(flags.requests, target.server));
        TRY(const std::string text, read_whole_file(flags.requests, kRequestFileLimit_bytes));
        record["requests"] = {{"count", target.requests.size()}, {"hash", hash_of(text)}};
    }
    if (!flags.json) print_head(flags, target);
    std::vector<BenchRun> runs;
    for (const int64_t prompt : lengths_of(flags)) {
        for (const int64_t concurrency : flags.concurrency) {
            TRY(BenchRun run, measure(flags, target, concurrency, prompt));
            if (!flags.json) print_run(run);
            runs.push_back(std::move(run));
        }
    }
    if (target.model() != nullptr) record["device"]["state_after"] = device_state(target.device);
    record["counted"] = counted_by(runs);
    record["flags"] = flags_json(settings);

    if (!flags.routing.empty()) TRY_VOID(write_file(flags.routing, routing_text(counted_experts(*target.session))));

    // Which experts are read is known by running a step; bytes and rows of the others are recorded.
    for (BenchRun& run : runs) {
        const bool routed = run.expected_distinct_experts > 0;
        if (!target.session || !target.requests.empty() || !(flags.profile || routed)) continue;
        TRY(const ops::Program program,
            profile_decode(*target.session, run.concurrency, run.prompt_tokens, flags.seed));
        run.measured_distinct_experts = mean_distinct_experts(program);
        if (!flags.profile || run.prompt_tokens != flags.prompt_tokens.front()) continue;
        record["profile"].push_back(profile_json(run.concurrency, program));
        if (!flags.json) print_profile(run, program, target.device, quantile(run.bandwidths, 0.5));
    }
    for (const BenchRun& run : runs) record["runs"].push_back(json_of(run));
    if (!flags.json && counted_by(runs) != "token ids") fmt::print("tokens counted by {}\n", counted_by(runs));
    if (!flags.svg.empty())
        TRY_VOID(write_file(flags.svg, draw_bench(short_name(record["model"]["name"].get<std::string>()),
                                                  fmt::format("decode, {}{}{}", target.device.name,
                                                              target.device.name.empty() ? "" : ", ", target.name),
                                                  runs)));
    if (flags.json) fmt::print("{}\n", record.dump(2, ' ', false, Json::error_handler_t::replace));
    return std::fflush(stdout) == 0 ? 0 : 1;
}

Json comparison_json(const RecordComparison& comparison) {
    Json json = {{"runs", Json::array()}, {"differs", comparison.remarks}};
    for (const RecordComparison::Line& line : comparison.lines) {
        const auto ratio = [](const RecordComparison::Line::Ratio& value) -> Json {
            if (value.a <= 0 || value.b <= 0) return nullptr;
            return {{"a", value.a}, {"b", value.b}, {"ratio", value.b / value.a}};
        };
        Json decode = ratio(line.decode);
        if (!decode.is_null()) decode["spreads_apart"] = line.decode.apart;
        json["runs"].push_back({{"concurrency", line.concurrency},
                                {"prompt_tokens", line.prompt_tokens},
                                {"output_tokens", line.output_tokens},
                                {"decode_tokens_per_second", decode},
                                {"prefill_tokens_per_second", ratio(line.prefill)},
                                {"ttft_ms_p50", ratio(line.first_token)},
                                {"inter_token_ms_p50", ratio(line.between)},
                                {"share_of_bandwidth", ratio(line.share)}});
    }
    return json;
}

Result<int> compare(const BenchFlags& flags) {
    TRY(const Json a, read_record(flags.compare_a));
    TRY(const Json b, read_record(flags.compare_b));
    TRY(const RecordComparison comparison, compare_records(a, b));
    if (flags.compare_json)
        fmt::print("{}\n", comparison_json(comparison).dump(2, ' ', false, Json::error_handler_t::replace));
    else
        fmt::print("{}", describe(comparison));
    return std::fflush(stdout) == 0 ? 0 : 1;
}

}  // namespace

void add_bench(CLI::App& program, Action& action) {
    const auto flags = std::make_shared<BenchFlags>();
    CLI::App& verb = *program.add_subcommand("bench", "Measure speed beside the ceiling of this machine's memory");
    add_model_flags(verb, flags->model);
    verb.add_option("--concurrency", flags->concurrency, "Sequences at once; several are measured in turn")
        ->delimiter(',')
        ->capture_default_str()
        ->check(in_range<int64_t>(1, 1024));
    verb.add_option("--prompt-tokens", flags->prompt_tokens, "Tokens of a prompt; several are measured in turn")
        ->delimiter(',')
        ->capture_default_str()
        ->check(in_range<int64_t>(1, 1 << 20));
    verb.add_option("--output-tokens", flags->output_tokens, "Tokens generated for each prompt")
        ->capture_default_str()
        ->check(in_range<int64_t>(2, 1 << 20));
    verb.add_option("--repeats", flags->repeats, "Counted rounds after one to warm up; the median is shown")
        ->capture_default_str()
        ->check(in_range<int64_t>(1, 1000));
    verb.add_option("--seed", flags->seed, "Of the prompts")->capture_default_str();
    verb.add_flag("--same-prompt", flags->same_prompt, "One prompt for all (not comparable; labelled)");
    verb.add_option("--requests", flags->requests, "OpenAI bodies to replay, one a line, in place of random prompts")
        ->check(existing_file())
        ->type_name("FILE");
    verb.add_option("--url", flags->url, "A server to measure in place of this process: http://HOST:PORT")
        ->type_name("URL");
    verb.add_option("--api-key", flags->api_key, "For --url")->type_name("KEY");
    verb.add_option("--vocab-size", flags->vocab_size, "For --url: random ids are below it")
        ->capture_default_str()
        ->check(in_range<int64_t>(2, 1 << 24));
    verb.add_flag("--profile", flags->profile, "Time, bytes and bandwidth of each operation of a decode step");
    verb.add_option("--write-routing", flags->routing,
                    "How often each expert was chosen by the tokens of all rounds, for audit --routing")
        ->type_name("FILE");
    verb.add_option("--svg", flags->svg, "Tokens/s against concurrency, with the ceiling, as a picture")
        ->type_name("FILE");
    verb.add_flag("--json", flags->json, "One JSON record on stdout");

    CLI::App& compared = *verb.add_subcommand("compare", "Ratios of two records; unlike runs are refused");
    compared.add_option("a", flags->compare_a, "A record that bench --json wrote")->required()->type_name("");
    compared.add_option("b", flags->compare_b, "Another one")->required()->type_name("");
    compared.add_flag("--json", flags->compare_json, "As JSON");
    verb.callback([flags, &action, &compared] {
        action = [flags, comparing = compared.parsed()](const Settings& settings) {
            return comparing ? compare(*flags) : bench(*flags, settings);
        };
    });
}

}  // namespace nibble::cli
