// Loader: takes a family's tensors from a checkpoint to the device.
//
// A family declares what it needs, one call an object; a declaration checks name, shape and format against the headers
// and reads the small tensors. finish() then allocates one buffer, fills it with all threads, and points every declared
// object into it. Declared objects must stay where they are until then. One thread owns a Loader; it is used once.
//
// Nothing is rounded: f16 matrices are kept as f32, small tensors as f32 (bf16 where that is what is stored).
#pragma once

#include "checkpoint/weights.h"
#include "device/buffer.h"
#include "model/blocks/projection.h"
#include "model/model.h"
#include "model/random_weights.h"
#include "ops/moe/moe.h"
#include "ops/weight.h"

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace nibble::model {

// What a loaded model keeps: the memory behind its weights, and their names.
struct Storage {
    device::Buffer buffer;
    std::deque<std::string> names;
    int64_t bytes = 0;  // of the buffer, or what it would be (LoadOptions::Source::headers)
};

class Loader {
public:
    // aliases: prefixes that a checkpoint may use in place of the family's own (checkpoint/weights.h).
    Loader(std::shared_ptr<const checkpoint::Checkpoint> checkpoint, const device::Device& device,
           const LoadOptions& options, std::vector<std::pair<std::string, std::string>> aliases);

    // Whether the checkpoint has it; `unknown` when the folder has no tensor headers.
    bool has(std::string_view tensor, bool unknown) const;
    bool has_matrix(std::string_view module, bool unknown) const;

    Result<void> matrix(std::string_view module, int64_t n, int64_t k, ops::Weight& into);
    // The router of ops::moe: f32 or bf16, and f32 where the folder does not say.
    Result<void> router(std::string_view module, int64_t experts, int64_t k, ops::Weight& into);
    // Modules prefix.name with n rows each that read the same input. Where format and scales allow, they become one
    // matrix in memory; else they stay apart.
    struct Part {
        std::string_view name;
        int64_t n;
    };
    Result<void> projection(std::string_view prefix, std::initializer_list<Part> parts, int64_t k, Bias bias,
                            Projection& into);
    // Modules prefix.0.name, prefix.1.name, …, or one tensor prefix.name [count, n, k].
    Result<void> experts(std::string_view prefix, std::string_view name, int64_t count, int64_t n, int64_t k,
                         ops::Experts& into);
    // A plain matrix whose rows are looked up, row-major; with `tied`, the same matrix as a linear's weight as well.
    Result<void> table(std::string_view module, int64_t rows, int64_t columns, device::Tensor& into, ops::Weight* tied);

    // A small tensor of the file's shape, given as a tensor of shape `seen` (default: shape).
    struct Vector {
        std::string_view name;
        std::initializer_list<int64_t> shape, seen = {};
        RandomValues random = RandomValues::ones;  // its distribution in random mode
        bool of_activations = false;               // bf16 when stored so and activations are bf16; else always f32
    };
    Result<void> vector(const Vector& vector, device::Tensor& into);
    // Values that the model computed itself.
    void constant(const std::vector<float>& values, device::Tensor& into);
    // An optional float, [] or [1] in the file; `absent` without it, and whenever data is not read.
    Result<float> scalar(std::string_view name, float absent);
    void ignore(std::string_view pattern) { weights_.ignore(pattern); }

    // Errors: model_invalid (a surplus tensor), does_not_fit, io.
    Result<Storage> finish();

private:
    using Source = LoadOptions::Source;
    // A part of the buffer. place() is told its address once the buffer is there.
    struct Piece {
        int64_t bytes = 0;
        std::string kind;  // pieces of one kind may share storage in random mode; empty: never
        std::function<void(std::byte*)> place;
        int64_t offset = 0;
        bool shares = false;  // another piece's storage, filled by that piece's jobs
    };
    // Fills (part of) a piece; any thread.
    struct Job {
        size_t piece = 0;
        int64_t bytes = 0;
        std::function<Result<void>()> run;
    };
    using SharedSource = std::shared_ptr<const ops::WeightSource>;

    bool headers() const { return checkpoint_->has_tensor_headers(); }
    Result<SharedSource> source(std::string_view module, int64_t n, int64_t k, RandomRows rows,
                                ops::WeightFormat otherwise, std::string& name);
    SharedSource randomised(const ops::WeightSource& like, RandomRows rows, std::string_view name) const;
    Result<std::vector<SharedSource>> expert_sources(std::string_view prefix, std::string_view name, int64_t count,
                                                     int64_t n, int64_t k);
    static SharedSource stacked(const std::vector<SharedSource>& parts);  // null: they cannot be one matrix
    void add_weight(SharedSource source, ops::WeightLayout layout, std::string name, ops::Weight& into);
    void add_values(std::vector<std::byte> bytes, device::DType dtype, std::initializer_list<int64_t> shape,
                    device::Tensor& into);
    size_t add_piece(int64_t bytes, std::string kind, std::function<void(std::byte*)> place);
    std::string_view keep(std::string name);
    void lay_out();
    Result<void> run_jobs();
    void count_read(int64_t bytes);  // any thread
    void report(int64_t bytes) const;

    std::shared_ptr<const checkpoint::Checkpoint> checkpoint_;
    checkpoint::Weights weights_;
    const device::Device& device_;
    const LoadOptions& options_;
    Storage storage_;
    std::vector<Piece> pieces_;
    std::vector<Job> jobs_;
    int64_t job_bytes_ = 0;

    const std::thread::id owner_ = std::this_thread::get_id();
    std::atomic<int64_t> bytes_read_{0};
    std::chrono::steady_clock::time_point last_progress_;  // the owner's alone
};

// "backbone.layers.3.mixer" of "backbone.layers.3.mixer.in_proj".
std::string_view parent(std::string_view module);

}  // namespace nibble::model
