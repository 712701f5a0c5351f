#include "checkpoint/quantizer.h"

#include "base/check.h"
#include "base/in_quotes.h"
#include "checkpoint/float_values.h"
#include "checkpoint/writer.h"
#include "numeric/fp8.h"
#include "numeric/nvfp4.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>

namespace nibble::checkpoint {
namespace {

using numeric::DType;

constexpr int64_t kPiece_bytes = int64_t{2} << 20;
constexpr int64_t kSampledRows = 64;  // of a matrix, to choose its global scale by

// What a searched matrix's global scale may be, in units of modelopt's. Above 1.5 the largest block, too, can be met by
// 4 instead of 6; what lies between moves the grid of E4M3 by a part of its step.
constexpr std::array kGlobalFactors = {1.0f, 1.5f, 1.54f, 1.58f, 1.62f, 1.66f};

// Declared tensors, and where the data of each comes from.
struct Output {
    size_t tensor = 0;
    const TensorEntry* from = nullptr;
    uint64_t offset = 0;   // within it
    uint64_t bytes = 0;    // to copy
    bool inverse = false;  // one float, of which 1 / x is written
};

struct Job {
    const LinearModule* module = nullptr;
    Encoding encoding = Encoding::nvfp4;
    size_t codes = 0, scales = 0, scale = 0;  // declared tensors
    std::optional<size_t> input_scale;
    float input_scale_value = 0;
    std::vector<float> weights;  // of the columns, or empty
    numeric::EncodingError error;
};

class Writing {
public:
    Writing(const Checkpoint& checkpoint, const QuantizeOptions& options)
        : checkpoint_(checkpoint), options_(options), rooms_(static_cast<size_t>(options.threads->size())) {}

    Result<void> plan(const std::vector<LinearModule>& modules, const std::vector<Encoding>& encodings);
    Result<QuantizeReport> write(const std::filesystem::path& folder);

private:
    size_t declare(std::string name, DType dtype, std::vector<int64_t> shape) {
        declared_.push_back({std::move(name), dtype, std::move(shape)});
        return declared_.size() - 1;
    }
    void add_job(const LinearModule& module, Encoding encoding);
    void copy(const TensorEntry& tensor, std::string name);
    void add_tensor(const TensorEntry& tensor);

    // body(index, worker) for each index, on every thread; the error of the lowest index.
    template <class Body>
    Result<void> for_each(size_t count, Body&& body);
    bool advance(int64_t bytes);

    struct Piece {
        Job* job = nullptr;
        int64_t row = 0, rows = 0;
        float largest = 0;
        numeric::EncodingError error;
    };
    std::vector<Piece> pieces_of(std::span<Job* const> jobs) const;
    Result<void> read(const Job& job, int64_t row, int64_t rows, int worker, std::span<const std::byte>& bytes);
    std::span<const float> row_floats(const Job& job, std::span<const std::byte> bytes, int64_t row, int worker);
    Error not_finite(const Job& job, std::span<const std::byte> bytes, int64_t row) const;
    Result<float> global_scale(std::span<Job* const> jobs, std::span<const Piece> pieces);
    Result<void> encode(Piece& piece, float scale, int worker);
    Result<void> encode_group(std::span<Job* const> jobs);
    Result<void> copy_all();

    const Checkpoint& checkpoint_;
    const QuantizeOptions& options_;
    std::vector<TensorDeclaration> declared_;
    std::vector<Output> outputs_;
    std::vector<Job> jobs_;
    std::optional<CheckpointWriter> writer_;
    int64_t total_bytes_ = 0;
    std::mutex mutex_;  // of the next two
    int64_t done_bytes_ = 0;
    bool stopped_ = false;

    struct Room {  // of a worker
        std::vector<std::byte> bytes;
        std::vector<float> row;
        std::vector<uint8_t> codes, scales;
    };
    std::vector<Room> rooms_;
};

void Writing::add_job(const LinearModule& module, Encoding encoding) {
    Job job{.module = &module, .encoding = encoding};
    const int64_t n = module.n, k = module.k;
    if (encoding == Encoding::nvfp4) {
        job.codes = declare(module.name + ".weight", DType::u8, {n, k / 2});
        job.scales = declare(module.name + ".weight_scale", DType::f8_e4m3, {n, k / numeric::kNvfp4Group});
        job.scale = declare(module.name + ".weight_scale_2", DType::f32, {});
        if (options_.inputs != nullptr) {
            const InputStatistics::Found found = options_.inputs->find(module);
            if (found.input != nullptr) job.weights = InputStatistics::weights(*found.input);
            if (found.own && found.input->largest > 0) {
                job.input_scale = declare(module.name + ".input_scale", DType::f32, {});
                job.input_scale_value = found.input->largest / (6.0f * numeric::kE4m3Max);
            }
        }
    } else {
        job.codes = declare(module.name + ".weight", DType::f8_e4m3, {n, k});
        job.scale = declare(module.name + ".weight_scale", DType::f32, {n});
    }
    jobs_.push_back(std::move(job));
    total_bytes_ += n * k * numeric::size_bytes(module.source->dtype);
}

void Writing::copy(const TensorEntry& tensor, std::string name) {
    outputs_.push_back(
        {.tensor = declare(std::move(name), tensor.dtype, tensor.shape), .from = &tensor, .bytes = tensor.bytes});
    total_bytes_ += static_cast<int64_t>(tensor.bytes);
}

// A tensor that stays, under modelopt's name.
void Writing::add_tensor(const TensorEntry& tensor) {
    const auto renamed = [&](std::string_view from, std::string_view to) {
        return tensor.name.substr(0, tensor.name.size() - from.size()) + std::string(to);
    };
    constexpr std::string_view kPacked = ".weight_packed", kWeight = ".weight_global_scale",
                               kInput = ".input_global_scale";
    if (tensor.name.ends_with(kPacked)) return copy(tensor, renamed(kPacked, ".weight"));
    for (const auto& [from, to] : {std::pair{kWeight, ".weight_scale_2"}, std::pair{kInput, ".input_scale"}})
        if (tensor.name.ends_with(from) && is_float(tensor.dtype) && tensor.elements() == 1) {
            outputs_.push_back(
                {.tensor = declare(renamed(from, to), DType::f32, {}), .from = &tensor, .inverse = true});
            total_bytes_ += static_cast<int64_t>(tensor.bytes);
            return;
        }
    copy(tensor, tensor.name);
}

Result<void> Writing::plan(const std::vector<LinearModule>& modules, const std::vector<Encoding>& encodings) {
    std::map<const TensorEntry*, std::vector<size_t>> by_source;
    for (size_t i = 0; i < modules.size(); ++i) {
        if (modules[i].format == MatrixFormat::fp8_block)
            return error(ErrorCode::unsupported, "{}: {} is FP8 per block, which modelopt's format has no place for",
                         checkpoint_.folder().string(), in_quotes(modules[i].name));
        if (modules[i].source != nullptr && !modules[i].tied) by_source[modules[i].source].push_back(i);
    }
    jobs_.reserve(modules.size());
    for (const TensorEntry& tensor : checkpoint_.tensors()) {
        const auto found = by_source.find(&tensor);
        const auto changes = [&](size_t i) { return encodings[i] != Encoding::keep; };
        if (found == by_source.end() || std::none_of(found->second.begin(), found->second.end(), changes)) {
            add_tensor(tensor);
            continue;
        }
        for (const size_t i : found->second) {
            const LinearModule& module = modules[i];
            if (changes(i)) {
                add_job(module, encodings[i]);
                continue;
            }
            // One of several modules in a tensor, which stays while another does not.
            const auto row_bytes = static_cast<uint64_t>(module.k * numeric::size_bytes(tensor.dtype));
            outputs_.push_back({.tensor = declare(module.name + ".weight", tensor.dtype, {module.n, module.k}),
                                .from = &tensor,
                                .offset = static_cast<uint64_t>(module.row) * row_bytes,
                                .bytes = static_cast<uint64_t>(module.n) * row_bytes});
            total_bytes_ += static_cast<int64_t>(outputs_.back().bytes);
        }
    }
    for (size_t i = 0; i < modules.size(); ++i)
        if (modules[i].tied && encodings[i] != Encoding::keep) add_job(modules[i], encodings[i]);
    return {};
}

template <class Body>
Result<void> Writing::for_each(size_t count, Body&& body) {
    std::atomic<size_t> next{0};
    std::mutex mutex;
    std::optional<std::pair<size_t, Error>> failure;
    options_.threads->run([&](int worker, int) {
        for (size_t i; (i = next.fetch_add(1)) < count;) {
            auto done = body(i, worker);
            if (done) continue;
            next = count;
            const std::lock_guard lock(mutex);
            if (!failure || i < failure->first) failure.emplace(i, std::move(done).error());
        }
    });
    if (failure) return std::move(failure->second);
    return {};
}

// False: the caller wants no more.
bool Writing::advance(int64_t bytes) {
    const std::lock_guard lock(mutex_);
    done_bytes_ += bytes;
    if (options_.progress && !stopped_) stopped_ = !options_.progress(done_bytes_, total_bytes_);
    return !stopped_;
}

std::vector<Writing::Piece> Writing::pieces_of(std::span<Job* const> jobs) const {
    std::vector<Piece> pieces;
    for (Job* job : jobs) {
        const LinearModule& module = *job->module;
        const int64_t row_bytes = module.k * numeric::size_bytes(module.source->dtype);
        const int64_t rows = std::max<int64_t>(1, kPiece_bytes / row_bytes);
        for (int64_t row = 0; row < module.n; row += rows)
            pieces.push_back({.job = job, .row = row, .rows = std::min(rows, module.n - row)});
    }
    return pieces;
}

Result<void> Writing::read(const Job& job, int64_t row, int64_t rows, int worker, std::span<const std::byte>& bytes) {
    const LinearModule& module = *job.module;
    const auto row_bytes = static_cast<size_t>(module.k * numeric::size_bytes(module.source->dtype));
    std::vector<std::byte>& room = rooms_[static_cast<size_t>(worker)].bytes;
    room.resize(static_cast<size_t>(rows) * row_bytes);
    TRY_VOID(checkpoint_.read(*module.source, static_cast<uint64_t>(module.row + row) * row_bytes, room));
    bytes = room;
    return {};
}

std::span<const float> Writing::row_floats(const Job& job, std::span<const std::byte> bytes, int64_t row, int worker) {
    std::vector<float>& into = rooms_[static_cast<size_t>(worker)].row;
    const DType dtype = job.module->source->dtype;
    const auto k = static_cast<size_t>(job.module->k);
    const size_t row_bytes = k * static_cast<size_t>(numeric::size_bytes(dtype));
    const auto from = bytes.subspan(static_cast<size_t>(row) * row_bytes, row_bytes);
    into.resize(k);
    if (dtype == DType::bf16)
        numeric::widen_bf16(from, into);
    else if (dtype == DType::f16)
        widen_f16(from.data(), reinterpret_cast<std::byte*>(into.data()), k);
    else
        std::memcpy(into.data(), from.data(), row_bytes);
    return into;
}

Error Writing::not_finite(const Job& job, std::span<const std::byte> bytes, int64_t row) const {
    const LinearModule& module = *job.module;
    const std::vector<float> values = to_floats(module.source->dtype, bytes);
    const auto bad = std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
    const int64_t at = bad - values.begin();
    return error(ErrorCode::model_invalid, "{}: tensor {}: expected finite values, found {} at [{}, {}]",
                 checkpoint_.folder().string(checkpoint_.files()[static_cast<size_t>(module.source->file)]),
                 in_quotes(module.source->name), bad == values.end() ? 0.0f : *bad, module.row + row + at / module.k,
                 at % module.k);
}

// modelopt's, or of its multiples the one with the least error on sampled rows. A group of zeros has none (modelopt
// would divide by it): 1 is written.
Result<float> Writing::global_scale(std::span<Job* const> jobs, std::span<const Piece> pieces) {
    float largest = 0;
    for (const Piece& piece : pieces) largest = std::max(largest, piece.largest);
    const float plain = largest / (6.0f * numeric::kE4m3Max);
    if (!(plain > 0.0f)) return 1.0f;
    if (options_.search == numeric::ScaleSearch::none) return plain;

    struct Sample {
        const Job* job;
        int64_t row;
        std::array<double, kGlobalFactors.size()> error{};
    };
    std::vector<Sample> samples;
    for (const Job* job : jobs) {
        const int64_t count = std::min(kSampledRows, job->module->n);
        for (int64_t i = 0; i < count; ++i) samples.push_back({.job = job, .row = job->module->n * i / count});
    }
    TRY_VOID(for_each(samples.size(), [&](size_t i, int worker) -> Result<void> {
        Sample& sample = samples[i];
        std::span<const std::byte> bytes;
        TRY_VOID(read(*sample.job, sample.row, 1, worker, bytes));
        const auto values = row_floats(*sample.job, bytes, 0, worker);
        Room& room = rooms_[static_cast<size_t>(worker)];
        room.codes.resize(values.size() / 2);
        room.scales.resize(values.size() / numeric::kNvfp4Group);
        for (size_t f = 0; f < kGlobalFactors.size(); ++f)
            sample.error[f] = numeric::nvfp4_encode(values, plain * kGlobalFactors[f], options_.search,
                                                    sample.job->weights, room.codes, room.scales)
                                  .weighted_error;
        return {};
    }));
    std::array<double, kGlobalFactors.size()> errors{};
    for (const Sample& sample : samples)
        for (size_t f = 0; f < errors.size(); ++f) errors[f] += sample.error[f];
    const auto best = std::min_element(errors.begin(), errors.end()) - errors.begin();
    return plain * kGlobalFactors[static_cast<size_t>(best)];
}

Result<void> Writing::encode(Piece& piece, float scale, int worker) {
    const Job& job = *piece.job;
    const LinearModule& module = *job.module;
    const auto k = static_cast<size_t>(module.k), rows = static_cast<size_t>(piece.rows);
    std::span<const std::byte> bytes;
    TRY_VOID(read(job, piece.row, piece.rows, worker, bytes));
    Room& room = rooms_[static_cast<size_t>(worker)];
    const auto write = [&](size_t tensor, size_t row_bytes, std::span<const std::byte> data) {
        return writer_->write(tensor, static_cast<uint64_t>(piece.row) * row_bytes, data);
    };
    if (job.encoding == Encoding::nvfp4) {
        const size_t code_bytes = k / 2, scale_bytes = k / numeric::kNvfp4Group;
        room.codes.resize(rows * code_bytes);
        room.scales.resize(rows * scale_bytes);
        for (size_t r = 0; r < rows; ++r)
            piece.error +=
                numeric::nvfp4_encode(row_floats(job, bytes, static_cast<int64_t>(r), worker), scale, options_.search,
                                      job.weights, std::span(room.codes).subspan(r * code_bytes, code_bytes),
                                      std::span(room.scales).subspan(r * scale_bytes, scale_bytes));
        TRY_VOID(write(job.codes, code_bytes, std::as_bytes(std::span(room.codes))));
        return write(job.scales, scale_bytes, std::as_bytes(std::span(room.scales)));
    }
    if (!all_finite(module.source->dtype, bytes)) return not_finite(job, bytes, piece.row);
    room.codes.resize(rows * k);
    std::vector<float> row_scales(rows);
    for (size_t r = 0; r < rows; ++r) {
        const auto values = row_floats(job, bytes, static_cast<int64_t>(r), worker);
        const float row_scale = numeric::largest_magnitude(values) / numeric::kE4m3Max;
        row_scales[r] = row_scale > 0.0f ? row_scale : 1.0f;
        piece.error += numeric::fp8_encode(values, row_scales[r], std::span(room.codes).subspan(r * k, k));
    }
    TRY_VOID(write(job.codes, k, std::as_bytes(std::span(room.codes))));
    return write(job.scale, sizeof(float), std::as_bytes(std::span(row_scales)));
}

Result<void> Writing::encode_group(std::span<Job* const> jobs) {
    std::vector<Piece> pieces = pieces_of(jobs);
    float scale = 1.0f;
    if (jobs[0]->encoding == Encoding::nvfp4) {
        TRY_VOID(for_each(pieces.size(), [&](size_t i, int worker) -> Result<void> {
            Piece& piece = pieces[i];
            std::span<const std::byte> bytes;
            TRY_VOID(read(*piece.job, piece.row, piece.rows, worker, bytes));
            if (!all_finite(piece.job->module->source->dtype, bytes)) return not_finite(*piece.job, bytes, piece.row);
            for (int64_t r = 0; r < piece.rows; ++r)
                piece.largest =
                    std::max(piece.largest, numeric::largest_magnitude(row_floats(*piece.job, bytes, r, worker)));
            return {};
        }));
        TRY(scale, global_scale(jobs, pieces));
        for (const Job* job : jobs) {
            TRY_VOID(writer_->write(job->scale, 0, std::as_bytes(std::span(&scale, 1))));
            if (job->input_scale)
                TRY_VOID(writer_->write(*job->input_scale, 0, std::as_bytes(std::span(&job->input_scale_value, 1))));
        }
    }
    TRY_VOID(for_each(pieces.size(), [&](size_t i, int worker) -> Result<void> {
        const LinearModule& module = *pieces[i].job->module;
        TRY_VOID(encode(pieces[i], scale, worker));
        if (advance(pieces[i].rows * module.k * numeric::size_bytes(module.source->dtype))) return {};
        return error(ErrorCode::cancelled, "interrupted");
    }));
    for (const Piece& piece : pieces) piece.job->error += piece.error;
    return {};
}

Result<void> Writing::copy_all() {
    struct Part {
        const Output* output;
        uint64_t offset, bytes;
    };
    std::vector<Part> parts;
    for (const Output& output : outputs_) {
        if (output.inverse) {
            std::vector<std::byte> bytes(output.from->bytes);
            TRY_VOID(checkpoint_.read(*output.from, 0, bytes));
            const float inverse = 1.0f / to_floats(output.from->dtype, bytes)[0];
            TRY_VOID(writer_->write(output.tensor, 0, std::as_bytes(std::span(&inverse, 1))));
            continue;
        }
        for (uint64_t at = 0; at < output.bytes; at += kPiece_bytes)
            parts.push_back({&output, at, std::min<uint64_t>(kPiece_bytes, output.bytes - at)});
    }
    return for_each(parts.size(), [&](size_t i, int worker) -> Result<void> {
        const Part& part = parts[i];
        std::vector<std::byte>& room = rooms_[static_cast<size_t>(worker)].bytes;
        room.resize(part.bytes);
        TRY_VOID(checkpoint_.read(*part.output->from, part.output->offset + part.offset, room));
        TRY_VOID(writer_->write(part.output->tensor, part.offset, room));
        if (advance(static_cast<int64_t>(part.bytes))) return {};
        return error(ErrorCode::cancelled, "interrupted");
    });
}

Result<QuantizeReport> Writing::write(const std::filesystem::path& folder) {
    TRY(CheckpointWriter writer, CheckpointWriter::create(folder, declared_));
    writer_.emplace(std::move(writer));
    std::map<std::string, std::vector<Job*>> groups;
    std::vector<const std::vector<Job*>*> order;
    for (Job& job : jobs_) {
        std::string key = job.encoding == Encoding::nvfp4 ? fused_name(job.module->name) : job.module->name;
        auto& group = groups[std::move(key)];
        if (group.empty()) order.push_back(&group);
        group.push_back(&job);
    }
    for (const auto* group : order) TRY_VOID(encode_group(*group));
    TRY_VOID(copy_all());
    TRY_VOID(writer_->finish());

    QuantizeReport report;
    report.bytes_before = static_cast<int64_t>(checkpoint_.tensor_bytes());
    report.bytes_after = static_cast<int64_t>(writer_->total_bytes());
    for (const Job& job : jobs_) {
        const LinearModule& module = *job.module;
        const int64_t count = module.n * module.k;
        report.modules.push_back({.name = module.name,
                                  .role = module.role,
                                  .n = module.n,
                                  .k = module.k,
                                  .from = module.format,
                                  .to = job.encoding,
                                  .relative_error = job.error.relative(),
                                  .bytes_before = count * numeric::size_bytes(module.source->dtype),
                                  .bytes_after = job.encoding == Encoding::nvfp4
                                                     ? count / 2 + count / numeric::kNvfp4Group + 4
                                                     : count + module.n * 4});
    }
    return report;
}

}  // namespace

Result<QuantizeReport> write_quantized_tensors(const Checkpoint& checkpoint, const std::vector<LinearModule>& modules,
                                               const std::vector<Encoding>& encodings,
                                               const std::filesystem::path& folder, const QuantizeOptions& options) {
    CHECK(modules.size() == encodings.size() && options.threads != nullptr);
    Writing writing(checkpoint, options);
    TRY_VOID(writing.plan(modules, encodings));
    return writing.write(folder);
}

}  // namespace nibble::checkpoint
