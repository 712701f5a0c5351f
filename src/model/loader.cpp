#include "model/loader.h"

#include "numeric/bf16.h"
#include "numeric/fp16.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <numeric>
#include <optional>

namespace nibble::model {
namespace {

using checkpoint::MatrixFormat;
using device::DType;
using device::Tensor;
using ops::WeightFormat;

constexpr int64_t kPieceAlignment = 256;
constexpr int64_t kMostBytes = int64_t{1} << 46;  // of one object: beyond any memory, and no sum of these overflows
constexpr auto kProgressInterval = std::chrono::milliseconds(50);

int64_t aligned(int64_t bytes) {
    return (bytes + kPieceAlignment - 1) / kPieceAlignment * kPieceAlignment;
}

int64_t float_bytes(int64_t count) {
    return count * static_cast<int64_t>(sizeof(float));
}

Result<WeightFormat> weight_format(const checkpoint::Matrix& matrix) {
    switch (matrix.format) {
        case MatrixFormat::f32:
        case MatrixFormat::f16:
            return WeightFormat::f32;
        case MatrixFormat::bf16:
            return WeightFormat::bf16;
        case MatrixFormat::fp8_tensor:
        case MatrixFormat::fp8_row:
            return WeightFormat::fp8;
        case MatrixFormat::nvfp4:
            return WeightFormat::nvfp4;
        case MatrixFormat::fp8_block:
            break;
    }
    return error(ErrorCode::unsupported,
                 "{}: weights in {} cannot be run; known are bf16, f16, f32, FP8 with a scale "
                 "per tensor or per row, and NVFP4",
                 matrix.module, checkpoint::name(matrix.format));
}

std::string join(std::string_view prefix, std::string_view name) {
    return fmt::format("{}.{}", prefix, name);
}

std::string kind_of(std::string_view what, const ops::WeightSource& s, ops::WeightLayout layout, int64_t count) {
    return fmt::format("{} {} {} {} {} {} {}", what, ops::name(s.format), static_cast<int>(layout), s.n, s.k, count,
                       s.row_scale.empty());
}

// The weight that a source becomes; its data is not there yet.
ops::Weight described(const ops::WeightSource& s, ops::WeightLayout layout, std::string_view name) {
    ops::Weight weight{.format = s.format, .layout = layout, .n = s.n, .k = s.k};
    weight.stored_bytes = ops::packed_bytes(s.format, layout, s.n, s.k);
    weight.scale = s.scale;
    weight.input_scale = s.input_scale;
    if (!s.row_scale.empty()) weight.row_scale = Tensor(nullptr, DType::f32, {s.n});
    weight.name = name;
    return weight;
}

// The same tensor at an address.
Tensor placed(const Tensor& tensor, std::byte* at) {
    switch (tensor.rank()) {
        case 1:
            return Tensor(at, tensor.dtype(), {tensor.dim(0)});
        case 2:
            return Tensor(at, tensor.dtype(), {tensor.dim(0), tensor.dim(1)});
        default:
            CHECK(tensor.rank() == 3, "{}", tensor.describe());
            return Tensor(at, tensor.dtype(), {tensor.dim(0), tensor.dim(1), tensor.dim(2)});
    }
}

// A row of f16 values becomes f32, in place of twice the width.
void widen_f16(const std::byte* from, int64_t count, std::byte* to) {
    for (int64_t i = 0; i < count; ++i) {
        uint16_t half;
        std::memcpy(&half, from + 2 * i, sizeof(half));
        const float value = numeric::fp16_to_float(half);
        std::memcpy(to + 4 * i, &value, sizeof(value));
    }
}

}  // namespace

std::string_view parent(std::string_view module) {
    return module.substr(0, module.rfind('.'));
}

Loader::Loader(std::shared_ptr<const checkpoint::Checkpoint> checkpoint, const device::Device& device,
               const LoadOptions& options, std::vector<std::pair<std::string, std::string>> aliases)
    : checkpoint_(std::move(checkpoint)),
      weights_(checkpoint_, std::move(aliases)),
      device_(device),
      options_(options) {}

bool Loader::has(std::string_view tensor, bool unknown) const {
    return headers() ? weights_.has(tensor) : unknown;
}

bool Loader::has_matrix(std::string_view module, bool unknown) const {
    return headers() ? weights_.has_matrix(module) : unknown;
}

std::string_view Loader::keep(std::string name) {
    return storage_.names.emplace_back(std::move(name));
}

size_t Loader::add_piece(int64_t bytes, std::string kind, std::function<void(std::byte*)> place) {
    pieces_.push_back({.bytes = aligned(bytes), .kind = std::move(kind), .place = std::move(place)});
    return pieces_.size() - 1;
}

Loader::SharedSource Loader::randomised(const ops::WeightSource& like, RandomRows rows, std::string_view name) const {
    ops::WeightSource source = random_matrix(like.format, like.n, like.k, rows, options_.random_seed, name);
    source.input_scale = like.input_scale;
    if (!like.row_scale.empty()) {
        source.row_scale.assign(like.row_scale.size(), source.scale);
        source.scale = 1.0f;
    }
    return std::make_shared<const ops::WeightSource>(std::move(source));
}

Result<Loader::SharedSource> Loader::source(std::string_view module, int64_t n, int64_t k, RandomRows rows,
                                            WeightFormat otherwise, std::string& name) {
    if (n > kMostBytes / 4 / k)
        return error(ErrorCode::does_not_fit, "{} [{}, {}] is larger than any memory", module, n, k);
    TRY(checkpoint::Matrix found, weights_.matrix(module, n, k));
    TRY(WeightFormat format, weight_format(found));
    if (!headers() && format == WeightFormat::bf16) format = otherwise;
    name = found.module;
    ops::WeightSource source{.format = format, .n = n, .k = k, .scale = found.scale, .input_scale = found.input_scale};
    source.row_scale = found.row_scale;
    if (options_.source == Source::random) return randomised(source, rows, name);
    auto matrix = std::make_shared<const checkpoint::Matrix>(std::move(found));
    source.read_rows = [this, matrix](int64_t row, int64_t count, std::byte* codes, std::byte* scales) -> Result<void> {
        TRY_VOID(weights_.read_rows(*matrix, row, count, codes, scales));
        count_read(count * (matrix_row_bytes(*matrix) + matrix_row_scale_bytes(*matrix)));
        return {};
    };
    return std::make_shared<const ops::WeightSource>(std::move(source));
}

void Loader::add_weight(SharedSource source, ops::WeightLayout layout, std::string name, ops::Weight& into) {
    into = described(*source, layout, keep(std::move(name)));
    const int64_t scales_at = aligned(into.stored_bytes);
    const size_t piece = add_piece(scales_at + into.row_scale.bytes(), kind_of("matrix", *source, layout, 1),
                                   [&into, scales_at](std::byte* at) {
                                       into.data = at;
                                       if (!into.row_scale.empty())
                                           into.row_scale = placed(into.row_scale, at + scales_at);
                                   });
    jobs_.push_back({.piece = piece, .bytes = into.stored_bytes, .run = [this, source, &into] {
                         return ops::pack(*source, device_, {}, into);
                     }});
}

Result<void> Loader::matrix(std::string_view module, int64_t n, int64_t k, ops::Weight& into) {
    std::string name;
    TRY(SharedSource found, source(module, n, k, RandomRows::projection, WeightFormat::bf16, name));
    const ops::WeightLayout layout = ops::preferred_layout(found->format, n, k, device_);
    add_weight(std::move(found), layout, std::move(name), into);
    return {};
}

Result<void> Loader::router(std::string_view module, int64_t experts, int64_t k, ops::Weight& into) {
    std::string name;
    TRY(SharedSource found, source(module, experts, k, RandomRows::projection, WeightFormat::f32, name));
    if (found->format != WeightFormat::f32 && found->format != WeightFormat::bf16)
        return error(ErrorCode::unsupported, "{}: a router in {}; f32, f16 or bf16 was expected", name,
                     ops::name(found->format));
    const ops::WeightLayout layout = ops::router_layout(found->format, experts, k, device_);
    add_weight(std::move(found), layout, std::move(name), into);
    return {};
}

Loader::SharedSource Loader::stacked(const std::vector<SharedSource>& parts) {
    const ops::WeightSource& first = *parts.front();
    bool one_scale = true, row_scales = !first.row_scale.empty();
    ops::WeightSource whole{.format = first.format, .n = 0, .k = first.k, .input_scale = first.input_scale};
    std::vector<int64_t> begin;
    for (const SharedSource& part : parts) {
        if (part->format != first.format || part->input_scale != first.input_scale ||
            part->row_scale.empty() == row_scales)
            return nullptr;
        one_scale = one_scale && part->scale == first.scale;
        begin.push_back(whole.n);
        whole.n += part->n;
    }
    if (one_scale) {
        whole.scale = first.scale;
        for (const SharedSource& part : parts)
            whole.row_scale.insert(whole.row_scale.end(), part->row_scale.begin(), part->row_scale.end());
    } else if (first.format == WeightFormat::fp8 && !row_scales) {
        for (const SharedSource& part : parts)
            whole.row_scale.insert(whole.row_scale.end(), static_cast<size_t>(part->n), part->scale);
    } else {
        return nullptr;  // an NVFP4 product is rounded with its scale inside, not after
    }
    whole.read_rows = [parts, begin, format = first.format, k = first.k](int64_t row, int64_t count, std::byte* codes,
                                                                         std::byte* scales) -> Result<void> {
        const int64_t code_bytes = ops::row_code_bytes(format, k), scale_bytes = ops::row_scale_bytes(format, k);
        for (size_t i = 0; i < parts.size(); ++i) {
            const int64_t from = std::max(row, begin[i]), to = std::min(row + count, begin[i] + parts[i]->n);
            if (from >= to) continue;
            TRY_VOID(parts[i]->read_rows(from - begin[i], to - from, codes + (from - row) * code_bytes,
                                         scales == nullptr ? nullptr : scales + (from - row) * scale_bytes));
        }
        return {};
    };
    return std::make_shared<const ops::WeightSource>(std::move(whole));
}

Result<void> Loader::projection(std::string_view prefix, std::initializer_list<Part> parts, int64_t k, Bias bias,
                                Projection& into) {
    std::vector<SharedSource> sources;
    std::vector<std::string> names;
    bool biased = bias == Bias::required;
    for (const Part& part : parts) {
        const std::string module = join(prefix, part.name);
        TRY(SharedSource found,
            source(module, part.n, k, RandomRows::projection, WeightFormat::bf16, names.emplace_back()));
        sources.push_back(std::move(found));
        biased = biased || (bias == Bias::allowed && has(module + ".bias", false));
        into.n += part.n;
    }

    if (SharedSource whole = sources.size() == 1 ? sources.front() : stacked(sources)) {
        std::string name = names.front();
        for (size_t i = 1; i < parts.size(); ++i) name += fmt::format("+{}", parts.begin()[i].name);
        sources = {std::move(whole)};
        names = {std::move(name)};
    }
    into.parts.resize(sources.size());
    for (size_t i = 0; i < sources.size(); ++i)
        add_weight(sources[i], ops::preferred_layout(sources[i]->format, sources[i]->n, k, device_), names[i],
                   into.parts[i]);

    if (!biased) return {};
    std::vector<float> values;
    for (const Part& part : parts) {
        const std::string name = join(prefix, part.name) + ".bias";
        TRY(std::vector<float> part_values, weights_.values(name, {part.n}));
        if (options_.source != Source::checkpoint) std::fill(part_values.begin(), part_values.end(), 0.0f);
        values.insert(values.end(), part_values.begin(), part_values.end());
    }
    constant(values, into.bias);
    return {};
}

Result<std::vector<Loader::SharedSource>> Loader::expert_sources(std::string_view prefix, std::string_view name,
                                                                 int64_t count, int64_t n, int64_t k) {
    std::vector<SharedSource> sources;
    const std::string all = join(prefix, name);
    if (!headers() || !weights_.has(all)) {
        for (int64_t e = 0; e < count; ++e) {
            std::string unused;
            TRY(SharedSource found, source(fmt::format("{}.{}.{}", prefix, e, name), n, k, RandomRows::projection,
                                           WeightFormat::bf16, unused));
            sources.push_back(std::move(found));
        }
        return sources;
    }

    TRY(const checkpoint::TensorEntry* entry, weights_.tensor(all, {count, n, k}));
    if (entry->dtype != DType::bf16 && entry->dtype != DType::f32 && entry->dtype != DType::f16)
        return error(ErrorCode::unsupported, "{}: {} where bf16, f16 or f32 was expected", all,
                     numeric::name(entry->dtype));
    for (int64_t e = 0; e < count; ++e) {
        ops::WeightSource one{.n = n, .k = k};
        one.format = entry->dtype == DType::bf16 ? WeightFormat::bf16 : WeightFormat::f32;
        one.read_rows = [this, entry, e, n, k](int64_t row, int64_t rows, std::byte* codes,
                                               std::byte*) -> Result<void> {
            const int64_t row_bytes = k * numeric::size_bytes(entry->dtype);
            const auto offset = static_cast<uint64_t>((e * n + row) * row_bytes);
            const auto bytes = static_cast<size_t>(rows * row_bytes);
            if (entry->dtype == DType::f16) {
                std::vector<std::byte> halves(bytes);
                TRY_VOID(checkpoint_->read(*entry, offset, halves));
                widen_f16(halves.data(), rows * k, codes);
            } else {
                TRY_VOID(checkpoint_->read(*entry, offset, {codes, bytes}));
            }
            count_read(rows * k * (entry->dtype == DType::bf16 ? 2 : 4));
            return {};
        };
        const auto shared = std::make_shared<const ops::WeightSource>(std::move(one));
        sources.push_back(options_.source == Source::random
                              ? randomised(*shared, RandomRows::projection, fmt::format("{}.{}", all, e))
                              : shared);
    }
    return sources;
}

Result<void> Loader::experts(std::string_view prefix, std::string_view name, int64_t count, int64_t n, int64_t k,
                             ops::Experts& into) {
    TRY(const std::vector<SharedSource> sources, expert_sources(prefix, name, count, n, k));
    const ops::WeightSource& first = *sources.front();
    for (int64_t e = 1; e < count; ++e)
        if (sources[e]->format != first.format || sources[e]->row_scale.empty() != first.row_scale.empty())
            return error(ErrorCode::unsupported,
                         "{}.{}.{}: {} weights among experts whose first is {}; the experts of a "
                         "layer must agree",
                         prefix, e, name, ops::name(sources[e]->format), ops::name(first.format));

    const ops::WeightLayout layout = ops::preferred_layout(first.format, n, k, device_);
    into.first = described(first, layout, keep(join(prefix, name)));
    into.count = count;
    into.stride_bytes = aligned(into.first.stored_bytes + float_bytes(n));
    if (count > kMostBytes / into.stride_bytes)
        return error(ErrorCode::does_not_fit, "{} experts {} [{}, {}] are larger than any memory", count, prefix, n, k);
    into.stride_bytes = aligned(into.first.stored_bytes);
    into.scales = Tensor(nullptr, DType::f32, {count});
    std::vector<float> scales, input_scales;
    for (const SharedSource& source : sources) {
        scales.push_back(source->scale);
        input_scales.push_back(source->input_scale);
    }
    if (std::any_of(input_scales.begin(), input_scales.end(), [](float s) { return s != 0.0f; }))
        into.input_scales = Tensor(nullptr, DType::f32, {count});
    if (!first.row_scale.empty()) into.row_scales = Tensor(nullptr, DType::f32, {count, n});

    const int64_t scales_at = count * into.stride_bytes;
    const int64_t inputs_at = aligned(scales_at + into.scales.bytes());
    const int64_t rows_at = aligned(inputs_at + into.input_scales.bytes());
    const size_t piece = add_piece(rows_at + into.row_scales.bytes(), kind_of("experts", first, layout, count),
                                   [&into, scales_at, inputs_at, rows_at](std::byte* at) {
                                       into.first.data = at;
                                       into.scales = placed(into.scales, at + scales_at);
                                       if (!into.input_scales.empty())
                                           into.input_scales = placed(into.input_scales, at + inputs_at);
                                       if (!into.row_scales.empty()) {
                                           into.row_scales = placed(into.row_scales, at + rows_at);
                                           into.first.row_scale = into.row_scales.rows(0, 1).reshape({into.first.n});
                                       }
                                   });
    jobs_.push_back({.piece = piece, .bytes = 0, .run = [this, scales, input_scales, &into]() -> Result<void> {
                         const int64_t bytes = float_bytes(into.count);
                         device::copy_to_device(device_, {}, into.scales.data(), scales.data(), bytes);
                         if (!into.input_scales.empty())
                             device::copy_to_device(device_, {}, into.input_scales.data(), input_scales.data(), bytes);
                         return {};
                     }});
    for (int64_t e = 0; e < count; ++e)
        jobs_.push_back(
            {.piece = piece, .bytes = into.first.stored_bytes, .run = [this, source = sources[e], e, &into] {
                 ops::Weight weight = into.expert(e, source->scale);
                 return ops::pack(*source, device_, {}, weight);
             }});
    return {};
}

Result<void> Loader::table(std::string_view module, int64_t rows, int64_t columns, Tensor& into, ops::Weight* tied) {
    std::string name;
    const RandomRows random = tied != nullptr ? RandomRows::projection : RandomRows::embedding;
    TRY(SharedSource found, source(module, rows, columns, random, WeightFormat::bf16, name));
    if (found->format != WeightFormat::bf16 && found->format != WeightFormat::f32)
        return error(ErrorCode::unsupported, "{}: an embedding in {}; bf16, f16 or f32 was expected", name,
                     ops::name(found->format));
    const DType dtype = found->format == WeightFormat::bf16 ? DType::bf16 : DType::f32;
    into = Tensor(nullptr, dtype, {rows, columns});
    auto weight = std::make_shared<ops::Weight>();
    add_weight(found, ops::WeightLayout::row_major, name, *weight);
    const bool one_copy =
        tied != nullptr && ops::preferred_layout(found->format, rows, columns, device_) == ops::WeightLayout::row_major;
    if (one_copy) *tied = *weight;
    pieces_.back().place = [weight, &into, tied, one_copy](std::byte* at) {
        weight->data = at;
        into = placed(into, at);
        if (one_copy) tied->data = at;
    };
    if (tied != nullptr && !one_copy)
        add_weight(found, ops::preferred_layout(found->format, rows, columns, device_), name, *tied);
    return {};
}

void Loader::add_values(std::vector<std::byte> bytes, DType dtype, std::initializer_list<int64_t> shape, Tensor& into) {
    into = Tensor(nullptr, dtype, shape);
    const size_t piece = add_piece(into.bytes(), {}, [&into](std::byte* at) { into = placed(into, at); });
    if (bytes.empty()) return;
    auto values = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
    jobs_.push_back({.piece = piece, .bytes = 0, .run = [this, values, &into]() -> Result<void> {
                         device::copy_to_device(device_, {}, into.data(), values->data(), into.bytes());
                         return {};
                     }});
}

Result<void> Loader::vector(const Vector& v, Tensor& into) {
    DType dtype = v.of_activations && options_.activation == DType::bf16 ? DType::bf16 : DType::f32;
    if (headers()) {
        TRY(const checkpoint::TensorEntry* entry, weights_.tensor(v.name, v.shape));
        if (entry->dtype != DType::bf16) dtype = DType::f32;
    }
    std::vector<float> values;
    if (options_.source == Source::checkpoint) {
        TRY(values, weights_.values(v.name, v.shape));
    } else if (options_.source == Source::random) {
        int64_t count = 1;
        for (int64_t extent : v.shape) count *= extent;
        values = random_values(v.random, count, v.shape.end()[-1], options_.random_seed, v.name);
    }
    std::vector<std::byte> bytes(values.size() * static_cast<size_t>(numeric::size_bytes(dtype)));
    if (dtype == DType::f32) {
        if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
    } else {
        for (size_t i = 0; i < values.size(); ++i) {
            const numeric::bf16 value = numeric::bf16::from_float(values[i]);  // exact: it was stored so
            std::memcpy(bytes.data() + 2 * i, &value, sizeof(value));
        }
    }
    add_values(std::move(bytes), dtype, v.seen.size() == 0 ? v.shape : v.seen, into);
    return {};
}

void Loader::constant(const std::vector<float>& values, Tensor& into) {
    const auto* begin = reinterpret_cast<const std::byte*>(values.data());
    add_values(std::vector<std::byte>(begin, begin + values.size() * sizeof(float)), DType::f32,
               {static_cast<int64_t>(values.size())}, into);
}

Result<float> Loader::scalar(std::string_view name, float absent) {
    if (!headers() || !weights_.has(name)) return absent;
    TRY(const std::vector<float> values, weights_.values(name, {}));
    return options_.source == Source::checkpoint ? values.front() : absent;
}

void Loader::lay_out() {
    const int64_t limit = options_.source == Source::checkpoint ? 0 : options_.random_memory_bytes;
    std::map<std::string, std::vector<int64_t>> placed;  // kind -> offsets
    std::map<std::string, size_t> next;
    int64_t used = 0;
    const auto allocate = [&](Piece& piece) {
        piece.offset = used;
        used += piece.bytes;
        if (!piece.kind.empty()) placed[piece.kind].push_back(piece.offset);
    };
    // Where storage is shared, the first of each kind comes first: it must exist whatever the limit.
    for (Piece& piece : pieces_)
        if (limit == 0 || piece.kind.empty() || !placed.contains(piece.kind)) {
            allocate(piece);
        } else {
            piece.offset = -1;
        }
    for (Piece& piece : pieces_) {
        if (piece.offset >= 0) continue;
        if (used + piece.bytes <= limit) {
            allocate(piece);
            continue;
        }
        const std::vector<int64_t>& offsets = placed[piece.kind];
        piece.offset = offsets[next[piece.kind]++ % offsets.size()];
        piece.shares = true;
    }
    storage_.bytes = used;
}

void Loader::count_read(int64_t bytes) {
    const int64_t read = bytes_read_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
    if (!options_.progress || std::this_thread::get_id() != owner_) return;
    const auto now = std::chrono::steady_clock::now();
    if (now - last_progress_ < kProgressInterval) return;
    last_progress_ = now;
    report(std::min(read, job_bytes_));
}

void Loader::report(int64_t bytes) const {
    options_.progress({.bytes_read = bytes,
                       .bytes_total = job_bytes_,
                       .stage = options_.source == Source::random ? "filling" : "reading"});
}

Result<void> Loader::run_jobs() {
    std::erase_if(jobs_, [&](const Job& job) { return pieces_[job.piece].shares; });
    // The largest first: one that starts last would run alone.
    std::stable_sort(jobs_.begin(), jobs_.end(), [](const Job& a, const Job& b) { return a.bytes > b.bytes; });
    job_bytes_ = std::accumulate(jobs_.begin(), jobs_.end(), int64_t{0},
                                 [](int64_t sum, const Job& job) { return sum + job.bytes; });

    std::atomic<size_t> next{0};
    std::mutex mutex;
    std::optional<Error> failure;  // the first
    const auto work = [&](int, int) {
        for (size_t i = next.fetch_add(1); i < jobs_.size(); i = next.fetch_add(1)) {
            auto done = jobs_[i].run();
            if (done) {
                if (options_.source == Source::random) count_read(jobs_[i].bytes);
                continue;
            }
            const std::lock_guard lock(mutex);
            if (!failure) failure = std::move(done).error();
            next.store(jobs_.size());
        }
    };
    if (options_.threads != nullptr)
        options_.threads->run(work);
    else
        work(0, 1);
    if (failure) return *std::move(failure);
    device::synchronize(device_, {});
    if (options_.progress) report(job_bytes_);
    return {};
}

Result<Storage> Loader::finish() {
    if (headers()) TRY_VOID(weights_.all_accounted_for());
    lay_out();
    if (options_.source != Source::headers) {
        TRY(storage_.buffer, device::Buffer::allocate(device_, storage_.bytes, "weights"));
        for (const Piece& piece : pieces_) piece.place(storage_.buffer.data() + piece.offset);
        TRY_VOID(run_jobs());
    }
    return std::move(storage_);
}

}  // namespace nibble::model
