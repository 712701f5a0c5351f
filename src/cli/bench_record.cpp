#include "cli/bench_record.h"

#include "base/files.h"
#include "base/host.h"
#include "cli/json_document.h"
#include "cli/machine.h"
#include "device/nvml.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <set>

namespace nibble::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kRecordLimit_bytes = uint64_t{64} << 20;

template <class Of>
std::vector<double> each(const std::vector<Round>& rounds, Of of) {
    std::vector<double> values;
    for (const Round& round : rounds) values.push_back(of(round));
    return values;
}

std::vector<double> all(const std::vector<Round>& rounds, std::vector<double> Round::*list) {
    std::vector<double> values;
    for (const Round& round : rounds) values.insert(values.end(), (round.*list).begin(), (round.*list).end());
    return values;
}

Json percentiles(const std::vector<double>& values) {
    return {{"p50", quantile(values, 0.5)}, {"p90", quantile(values, 0.9)}, {"p99", quantile(values, 0.99)}};
}

Json spread(const std::vector<double>& values) {
    return {{"median", quantile(values, 0.5)}, {"low", quantile(values, 0)}, {"high", quantile(values, 1)}};
}

template <class T>
void put(Json& json, const char* name, const std::optional<T>& value) {
    if (value) json[name] = *value;
}

// Both absent counts as the same: older records and servers that do not tell.
const Json* at(const Json& json, std::string_view path) {
    const Json* here = &json;
    while (!path.empty()) {
        const size_t dot = std::min(path.find('.'), path.size());
        if (!here->is_object()) return nullptr;
        const auto found = here->find(std::string(path.substr(0, dot)));
        if (found == here->end()) return nullptr;
        here = &*found;
        path.remove_prefix(std::min(dot + 1, path.size()));
    }
    return here->is_null() ? nullptr : here;
}

std::string text_at(const Json& json, std::string_view path) {
    const Json* value = at(json, path);
    if (value == nullptr) return "nothing";
    return value->dump(-1, ' ', false, Json::error_handler_t::replace);
}

double number_at(const Json& json, std::string_view path) {
    const Json* value = at(json, path);
    return value != nullptr && value->is_number() ? value->get<double>() : 0;
}

// What two runs must have in common to be compared. The program and its version may differ: that is what is compared.
constexpr std::string_view kMustAgree[] = {
    "checkpoint.hash",
    "prompts",
    "seed",
    "requests.hash",
    "device.name",
    "device.state.driver",
    "device.state.power_limit_w",
    "machine.cpu",
    "machine.governor",
    "machine.memory_bytes",
};
// The same, but a server that is asked by URL does not tell them.
constexpr std::string_view kMustAgreeIfKnown[] = {"model.random_weights", "device.threads", "flags.kv-cache-dtype",
                                                  "flags.activation"};
constexpr std::string_view kMayDiffer[] = {
    "target",          "program.version", "program.commit", "program.compiler",
    "server.software", "machine.kernel",  "counted",        "flags.max-num-batched-tokens"};

std::set<std::string> slowed_by(const Json& record) {
    std::set<std::string> reasons;
    for (const char* when : {"device.state.throttled", "device.state_after.throttled"})
        if (const Json* list = at(record, when); list != nullptr && list->is_array())
            for (const Json& reason : *list)
                if (reason.is_string()) reasons.insert(reason.get<std::string>());
    return reasons;
}

const Json* find_run(const Json& record, const Json& like) {
    for (const Json& run : record["runs"]) {
        bool same = true;
        for (const char* field : {"concurrency", "prompt_tokens", "output_tokens"})
            same = same && number_at(run, field) == number_at(like, field);
        if (same) return &run;
    }
    return nullptr;
}

}  // namespace

std::vector<double> BenchRun::decode() const {
    return each(rounds, [](const Round& round) { return round.decode_tokens_per_second; });
}

double BenchRun::share() const {
    if (bytes_per_step <= 0 || bandwidths.size() != rounds.size()) return 0;
    std::vector<double> shares;
    for (size_t i = 0; i < rounds.size(); ++i)
        shares.push_back(bytes_per_step * rounds[i].decode_tokens_per_second / static_cast<double>(concurrency) /
                         std::max(bandwidths[i], 1.0));
    return quantile(shares, 0.5);
}

double BenchRun::ceiling() const {
    if (bytes_per_step <= 0 || bandwidths.empty()) return 0;
    return quantile(bandwidths, 0.5) / bytes_per_step * static_cast<double>(concurrency);
}

Json json_of(const BenchRun& run) {
    Json json = {{"concurrency", run.concurrency},
                 {"prompt_tokens", run.prompt_tokens},
                 {"output_tokens", run.output_tokens},
                 {"repeats", run.repeats}};
    json["decode_tokens_per_second"] = spread(run.decode());
    json["prefill_tokens_per_second"] =
        spread(each(run.rounds, [](const Round& round) { return round.prefill_tokens_per_second; }));
    json["tokens_per_second"] = spread(each(run.rounds, [](const Round& round) { return round.tokens_per_second; }));
    json["ttft_ms"] = percentiles(all(run.rounds, &Round::first_token_ms));
    json["inter_token_ms"] = percentiles(all(run.rounds, &Round::between_ms));
    json["end_to_end_ms"] = percentiles(all(run.rounds, &Round::end_to_end_ms));
    int64_t prompt = 0, output = 0, cached = 0;
    for (const Round& round : run.rounds) {
        prompt += round.prompt_tokens;
        output += round.output_tokens;
        cached += round.cached_tokens;
    }
    json["tokens"] = {{"prompt", prompt}, {"cached", cached}, {"output", output}};
    if (run.bytes_per_step > 0) json["bytes_per_step"] = run.bytes_per_step;
    if (!run.bandwidths.empty()) json["read_bandwidth_gb_s"] = quantile(run.bandwidths, 0.5) / 1e9;
    if (run.ceiling() > 0) {
        json["ceiling_tokens_per_second"] = run.ceiling();
        json["share_of_bandwidth"] = run.share();
    }
    if (run.expected_distinct_experts > 0) json["expected_distinct_experts"] = run.expected_distinct_experts;
    if (run.measured_distinct_experts > 0) json["distinct_experts"] = run.measured_distinct_experts;
    return json;
}

Json device_state(const device::Device& device) {
    Json state = Json::object();
    if (device.is_cpu()) {
        const CpuReading cpu = read_cpu();
        put(state, "clock_mhz", cpu.mhz);
        put(state, "max_clock_mhz", cpu.max_mhz);
        put(state, "temperature_c", cpu.temperature_c);
        if (cpu.throttled.value_or(false)) state["throttled"] = {"thermal limit, at some time since the start"};
        return state;
    }
    const auto nvml = device::read_nvml();
    if (!nvml) {
        state["not_read"] = nvml.error().message;
        return state;
    }
    state["driver"] = nvml->driver;
    const device::GpuReading* gpu = device::find_reading(*nvml, device);
    if (gpu == nullptr) return state;
    state["uuid"] = gpu->uuid;
    put(state, "sm_clock_mhz", gpu->sm_clock_mhz);
    put(state, "max_sm_clock_mhz", gpu->max_sm_clock_mhz);
    put(state, "memory_clock_mhz", gpu->memory_clock_mhz);
    put(state, "power_w", gpu->power_w);
    put(state, "power_limit_w", gpu->power_limit_w);
    put(state, "temperature_c", gpu->temperature_c);
    if (gpu->throttle_reasons) {
        state["throttled"] = Json::array();
        for (const std::string_view name : device::throttle_names(*gpu->throttle_reasons))
            state["throttled"].push_back(name);
    }
    return state;
}

Json machine_json() {
    const CpuReading cpu = read_cpu();
    const CgroupLimits limits = read_cgroup_limits();
    Json machine = {{"cpu", cpu.name}, {"cores", read_processors().cores}, {"kernel", kernel_text()}};
    if (limits.processors) machine["cpu_quota"] = *limits.processors;
    if (const auto memory = device::read_memory(device::cpu_device())) machine["memory_bytes"] = memory->total_bytes;
    if (!cpu.governor.empty()) machine["governor"] = cpu.governor;
    return machine;
}

Json flags_json(const Settings& settings) {
    static const std::set<std::string_view> left_out = {"api-key", "json", "svg", "config", "print-config"};
    Json flags = Json::object();
    for (const Setting& setting : settings.flags)
        if (!left_out.contains(setting.flag) && !setting.value.empty()) flags[setting.flag] = setting.value;
    return flags;
}

Result<Json> read_record(const std::filesystem::path& file) {
    TRY(const std::string text, read_whole_file(file, kRecordLimit_bytes));
    Json record = parse_document(text);
    if (!record.is_object() || !record.contains("nibble_bench") || !record.contains("runs") ||
        !record["runs"].is_array())
        return error(ErrorCode::usage, "{}: expected a record that bench --json wrote", file.string());
    return record;
}

Result<RecordComparison> compare_records(const Json& a, const Json& b) {
    std::string unlike;
    for (const std::string_view path : kMustAgree)
        if (text_at(a, path) != text_at(b, path))
            unlike += fmt::format("\n  {}: {} and {}", path, text_at(a, path), text_at(b, path));
    for (const std::string_view path : kMustAgreeIfKnown)
        if (at(a, path) != nullptr && at(b, path) != nullptr && text_at(a, path) != text_at(b, path))
            unlike += fmt::format("\n  {}: {} and {}", path, text_at(a, path), text_at(b, path));
    // Where no folder was at hand, the name that the servers give is all there is.
    if (at(a, "checkpoint.hash") == nullptr && text_at(a, "model.name") != text_at(b, "model.name"))
        unlike += fmt::format("\n  model.name: {} and {}", text_at(a, "model.name"), text_at(b, "model.name"));
    const auto slowed_a = slowed_by(a), slowed_b = slowed_by(b);
    if (slowed_a != slowed_b)
        unlike += fmt::format("\n  throttled: [{}] and [{}]", fmt::join(slowed_a, ", "), fmt::join(slowed_b, ", "));
    if (!unlike.empty())
        return error(ErrorCode::usage, "the runs are not alike and cannot be compared; they differ in{}", unlike);

    RecordComparison comparison;
    for (const std::string_view path : kMayDiffer)
        if (text_at(a, path) != text_at(b, path))
            comparison.remarks.push_back(fmt::format("{}: {} and {}", path, text_at(a, path), text_at(b, path)));
    for (const Json& run : a["runs"]) {
        const Json* other = run.is_object() ? find_run(b, run) : nullptr;
        if (other == nullptr) continue;
        const auto ratio = [&](std::string_view path) {
            return RecordComparison::Line::Ratio{.a = number_at(run, path), .b = number_at(*other, path)};
        };
        RecordComparison::Line line{.concurrency = static_cast<int64_t>(number_at(run, "concurrency")),
                                    .prompt_tokens = static_cast<int64_t>(number_at(run, "prompt_tokens")),
                                    .output_tokens = static_cast<int64_t>(number_at(run, "output_tokens")),
                                    .decode = ratio("decode_tokens_per_second.median"),
                                    .prefill = ratio("prefill_tokens_per_second.median"),
                                    .first_token = ratio("ttft_ms.p50"),
                                    .between = ratio("inter_token_ms.p50"),
                                    .share = ratio("share_of_bandwidth")};
        line.decode.apart =
            number_at(run, "decode_tokens_per_second.low") > number_at(*other, "decode_tokens_per_second.high") ||
            number_at(*other, "decode_tokens_per_second.low") > number_at(run, "decode_tokens_per_second.high");
        comparison.lines.push_back(line);
    }
    if (comparison.lines.empty())
        return error(ErrorCode::usage,
                     "the runs have no combination of concurrency, prompt and output tokens in common");
    return comparison;
}

std::string describe(const RecordComparison& comparison) {
    const auto cell = [](const RecordComparison::Line::Ratio& ratio, int digits, double unit = 1) {
        if (ratio.a <= 0 || ratio.b <= 0) return std::string("-");
        return fmt::format("{:.{}f} > {:.{}f} x{:.3f}", ratio.a * unit, digits, ratio.b * unit, digits,
                           ratio.b / ratio.a);
    };
    std::string text =
        fmt::format("{:>5} {:>7} {:>7}  {:<28} {:<28} {:<26} {:<24} {}\n", "conc", "prompt", "output",
                    "decode tok/s, A > B", "prefill tok/s", "TTFT ms", "between tokens ms", "% of the ceiling");
    for (const RecordComparison::Line& line : comparison.lines)
        text += fmt::format("{:>5} {:>7} {:>7}  {:<28} {:<28} {:<26} {:<24} {}\n", line.concurrency, line.prompt_tokens,
                            line.output_tokens, cell(line.decode, 1) + (line.decode.apart ? "" : " ~"),
                            cell(line.prefill, 0), cell(line.first_token, 1), cell(line.between, 2),
                            cell(line.share, 1, 100));
    text += "x: B / A. ~: the spreads of the rounds overlap.\n";
    for (const std::string& remark : comparison.remarks) text += fmt::format("{}\n", remark);
    return text;
}

}  // namespace nibble::cli
