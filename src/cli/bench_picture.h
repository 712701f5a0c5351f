// BenchPicture: tokens per second against concurrency, with the ceiling, as SVG. Pure.
#pragma once

#include "cli/bench_record.h"

#include <span>
#include <string>
#include <string_view>

namespace nibble::cli {

// One curve a length of prompt: the medians, with the spread of the rounds; the ceiling dashed where it is known.
std::string draw_bench(std::string_view title, std::string_view subtitle, std::span<const BenchRun> runs);

}  // namespace nibble::cli
