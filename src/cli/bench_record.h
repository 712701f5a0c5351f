// BenchRecord: what a measurement says about itself, as one JSON document: figures, machine, clocks, checkpoint, flags.
// Comparing refuses runs that measured different things.
#pragma once

#include "base/result.h"
#include "cli/bench_timing.h"
#include "cli/flags.h"
#include "device/device.h"

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::cli {

// The rounds of one combination of concurrency and lengths.
struct BenchRun {
    int64_t concurrency = 0, prompt_tokens = 0, output_tokens = 0, repeats = 0;
    std::vector<Round> rounds;
    std::vector<double> bandwidths;        // bytes per second, one a round; empty: not known
    double bytes_per_step = 0;             // 0: not known
    double expected_distinct_experts = 0;  // mean over the routed layers, by uniform routing; 0: there are none
    double measured_distinct_experts = 0;  // in a decode step of random tokens; 0: not measured

    std::vector<double> decode() const;
    double share() const;    // of the bandwidth, the median of the rounds'; 0: not known
    double ceiling() const;  // tokens per second, all sequences together; 0: not known
};

nlohmann::ordered_json json_of(const BenchRun& run);

// Clocks, power, throttling and temperature of a device at this moment, what of it can be read.
nlohmann::ordered_json device_state(const device::Device& device);
// Processor, memory, kernel.
nlohmann::ordered_json machine_json();
// Every flag that shapes a run, without keys and without the places where output goes.
nlohmann::ordered_json flags_json(const Settings& settings);

// Errors: not_found, usage (it is no record of bench).
Result<nlohmann::ordered_json> read_record(const std::filesystem::path& file);

struct RecordComparison {
    struct Line {
        int64_t concurrency = 0, prompt_tokens = 0, output_tokens = 0;
        struct Ratio {
            double a = 0, b = 0;  // b / a is the ratio; 0: not measured
            bool apart = false;   // the spreads do not touch (decode only)
        };
        Ratio decode, prefill, first_token, between, share;
    };
    std::vector<Line> lines;
    std::vector<std::string> remarks;  // what differs and may: program, commit, temperature
};
// Errors: usage: the fields in which the runs differ and must not, each with both values; or no combination in common.
Result<RecordComparison> compare_records(const nlohmann::ordered_json& a, const nlohmann::ordered_json& b);
std::string describe(const RecordComparison& comparison);

}  // namespace nibble::cli
