// Quantizer: writes a checkpoint again with some of its matrices in NVFP4 or FP8, in modelopt's format.
//
// Streams: each matrix is read in pieces of a few megabytes, by every thread, twice (its largest magnitude first), and
// never held whole. q/k/v and gate/up share a global scale, as modelopt calibrates them, so that an engine can fuse
// them. Tensors that stay are copied; compressed-tensors' names and dividing scales become modelopt's. The result does
// not depend on the number of threads.
#pragma once

#include "base/result.h"
#include "base/thread_pool.h"
#include "checkpoint/input_statistics.h"
#include "checkpoint/linear_modules.h"
#include "checkpoint/quant_rules.h"
#include "numeric/encode.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace nibble::checkpoint {

struct QuantizeOptions {
    numeric::ScaleSearch search = numeric::ScaleSearch::mse;
    // The search weighs columns by them, and NVFP4 matrices get an input_scale. Null: not calibrated.
    const InputStatistics* inputs = nullptr;
    ThreadPool* threads = nullptr;
    // From the calling thread or a worker, one at a time: bytes of the source that are done. False ends the work with
    // `cancelled`.
    std::function<bool(int64_t bytes, int64_t total_bytes)> progress;
    std::string producer_version;
};

struct QuantizedModule {
    std::string name;
    ModuleRole role = ModuleRole::mlp;
    int64_t n = 0, k = 0;
    MatrixFormat from = MatrixFormat::bf16;
    Encoding to = Encoding::nvfp4;
    double relative_error = 0;  // |decoded - source| / |source|, Frobenius norms
    int64_t bytes_before = 0, bytes_after = 0;
};

struct QuantizeReport {
    std::vector<QuantizedModule> modules;       // those that changed
    int64_t bytes_before = 0, bytes_after = 0;  // of all tensors
};

// encodings: as the modules (QuantRules::assign). Writes `folder`, which must not exist: all of it under another name
// (folder.partial), renamed when whole; nothing is left when it fails. Configs, tokenizer and other small files come
// along. Errors: model_invalid naming file and tensor (a value that is not finite), unsupported (FP8 per block), io
// naming the file (a full disk), usage when the folder exists, cancelled.
Result<QuantizeReport> quantize(const Checkpoint& checkpoint, const std::vector<LinearModule>& modules,
                                const std::vector<Encoding>& encodings, const std::filesystem::path& folder,
                                const QuantizeOptions& options);

// The tensors alone, into a folder that exists and is empty.
Result<QuantizeReport> write_quantized_tensors(const Checkpoint& checkpoint, const std::vector<LinearModule>& modules,
                                               const std::vector<Encoding>& encodings,
                                               const std::filesystem::path& folder, const QuantizeOptions& options);

}  // namespace nibble::checkpoint
