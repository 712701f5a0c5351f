// Calibration: a model reads a text, and what each of its matrices was multiplied with is noted.
#pragma once

#include "base/result.h"
#include "base/thread_pool.h"
#include "checkpoint/input_statistics.h"
#include "cli/progress.h"

#include <cstdint>
#include <filesystem>
#include <string>

namespace nibble::cli {

// On the CPU, in windows that begin anew. Errors: as TextScorer::open; usage for a text without tokens; cancelled.
Result<checkpoint::InputStatistics> observe_inputs(const std::string& model, const std::filesystem::path& text,
                                                   int64_t tokens, ThreadPool& threads, ProgressBar& bar);

}  // namespace nibble::cli
