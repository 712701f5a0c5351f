#include "ops/conformance.h"

#include "ops/linear/cpu_layout.h"
#include "ops/simd.h"

#include <hwy/highway.h>
#include <hwy/targets.h>

#include <algorithm>
#include <cstdio>
#include <set>

namespace nibble::ops::conformance {

Memory::Allocation Memory::add(int64_t bytes) {
    // 64 bytes of margin on both sides: what a row writes there is found by rest_is_unchanged().
    constexpr int64_t kMargin = 64;
    const int64_t whole = round_up(bytes + 2 * kMargin, 64);
    allocations_.emplace_back(std::make_unique<std::byte[]>(static_cast<size_t>(whole)), Allocation{});
    auto& [owner, allocation] = allocations_.back();
    allocation = {owner.get(), whole};
    std::fill_n(owner.get(), whole, std::byte{0xA5});
    return {owner.get() + kMargin, bytes};
}

Tensor Memory::tensor(DType dtype, std::initializer_list<int64_t> shape, int64_t gap) {
    Tensor t(nullptr, dtype, shape);
    if (gap == 0) {
        const Allocation a = add(t.bytes());
        return Tensor(a.data, dtype, shape);
    }
    CHECK(t.rank() == 2);
    const Tensor wide(nullptr, dtype, {t.dim(0), t.dim(1) + gap});
    return Tensor(add(wide.bytes()).data, dtype, {t.dim(0), t.dim(1) + gap}).columns(0, t.dim(1));
}

namespace {

// Random codes (and scales) of a row-major matrix; returns the scale that makes values of order `magnitude`.
float fill_codes(WeightFormat format, int64_t n, int64_t k, Generator& random, float magnitude, std::byte* data) {
    std::normal_distribution<float> normal;
    std::uniform_int_distribution<int> byte(0, 255);
    const int64_t elements = n * k;
    switch (format) {
        case WeightFormat::f32:
            for (int64_t i = 0; i < elements; ++i) reinterpret_cast<float*>(data)[i] = magnitude * normal(random);
            return 1.0f;
        case WeightFormat::bf16:
            for (int64_t i = 0; i < elements; ++i)
                reinterpret_cast<numeric::bf16*>(data)[i] = numeric::bf16::from_float(magnitude * normal(random));
            return 1.0f;
        case WeightFormat::fp8:
            // Every code but the two NaN: subnormals, zeros and the largest among them.
            for (int64_t i = 0; i < elements; ++i) {
                const int code = byte(random);
                data[i] = static_cast<std::byte>((code & 0x7F) == 0x7F ? code ^ 0x10 : code);
            }
            return magnitude / 128;
        case WeightFormat::nvfp4:
            for (int64_t i = 0; i < elements / 2; ++i) data[i] = static_cast<std::byte>(byte(random));
            // Scales as quantisers make them, with extremes: zero, subnormal, the largest, negative.
            for (int64_t i = 0; i < elements / 16; ++i) {
                static constexpr int kRare[] = {0x00, 0x01, 0x07, 0x08, 0x7E, 0xB8, 0x80, 0x83};
                const int code = byte(random);
                data[elements / 2 + i] = static_cast<std::byte>(code < 16 ? kRare[code % 8] : 0x30 + code % 24);
            }
            return magnitude / 4;
    }
    return 1.0f;
}

}  // namespace

Weight Memory::weights(WeightFormat format, int64_t count, int64_t n, int64_t k, Generator& random, float magnitude,
                       int64_t& stride_bytes) {
    Weight w{.format = format, .layout = WeightLayout::row_major, .n = n, .k = k, .name = "w"};
    w.stored_bytes = packed_bytes(format, w.layout, n, k);
    stride_bytes = round_up(w.stored_bytes, 4);
    w.data = add(count * stride_bytes).data;
    for (int64_t e = 0; e < count; ++e)
        w.scale = fill_codes(format, n, k, random, magnitude, w.data + e * stride_bytes);
    return w;
}

Weight Memory::weight(WeightFormat format, int64_t n, int64_t k, Generator& random, float magnitude, bool row_scale) {
    int64_t stride = 0;
    Weight w = weights(format, 1, n, k, random, magnitude, stride);
    if (row_scale) {
        std::normal_distribution<float> normal;
        w.row_scale = tensor(DType::f32, {n});
        fill(w.row_scale, [&] { return 0.5f + 0.1f * std::abs(normal(random)); });
    }
    return w;
}

namespace {

// body(pointer to a row, elements in it) for every row.
template <class Body>
void for_rows(const Tensor& t, Body&& body) {
    if (t.contiguous()) return body(static_cast<std::byte*>(t.data()), t.elements());
    CHECK(t.rank() == 2);
    for (int64_t i = 0; i < t.dim(0); ++i) body(t.row(i), t.dim(1));
}

// The same view of other memory.
Tensor at(const Tensor& t, std::byte* data) {
    switch (t.rank()) {
        case 1:
            return Tensor(data, t.dtype(), {t.dim(0)});
        case 2:
            return Tensor(data, t.dtype(), {t.dim(0), t.row_stride()}).columns(0, t.dim(1));
        case 3:
            return Tensor(data, t.dtype(), {t.dim(0), t.dim(1), t.dim(2)});
        default:
            return Tensor(data, t.dtype(), {t.dim(0), t.dim(1), t.dim(2), t.dim(3)});
    }
}

float number(const std::byte* row, DType dtype, int64_t i) {
    return dtype == DType::i32 ? static_cast<float>(reinterpret_cast<const int32_t*>(row)[i]) : get(row, dtype, i);
}

}  // namespace

std::vector<float> values(const Tensor& tensor) {
    std::vector<float> all;
    for_rows(tensor, [&](std::byte* row, int64_t count) {
        for (int64_t i = 0; i < count; ++i) all.push_back(number(row, tensor.dtype(), i));
    });
    return all;
}

void fill(const Tensor& tensor, const std::function<float()>& next) {
    for_rows(tensor, [&](std::byte* row, int64_t count) {
        for (int64_t i = 0; i < count; ++i) put(row, tensor.dtype(), i, next());
    });
}

void fill_normal(const Tensor& tensor, Generator& random, float deviation) {
    std::normal_distribution<float> normal(0.0f, deviation);
    fill(tensor, [&] { return normal(random); });
}

void fill_adversarial(const Tensor& tensor, Generator& random) {
    std::normal_distribution<float> normal;
    std::uniform_real_distribution<float> exponent(-12.0f, 12.0f);
    for (int64_t i = 0; i < tensor.dim(0); ++i) {
        const float row = std::pow(10.0f, exponent(random));
        fill(tensor.rows(i, i + 1), [&] { return random() % 8 == 0 ? 0.0f : row * normal(random); });
    }
}

void fill_integers(const Tensor& tensor, const std::vector<int32_t>& integers) {
    CHECK(tensor.dtype() == DType::i32 && tensor.elements() == static_cast<int64_t>(integers.size()));
    std::copy(integers.begin(), integers.end(), tensor.as<int32_t>());
}

Copy::Copy(const Memory& memory, const device::Device& device, bool packed)
    : memory_(memory), device_(device), packed_(packed) {
    for (const auto& [owner, allocation] : memory.allocations()) {
        auto buffer = device::Buffer::allocate(device, allocation.bytes, "a case");
        CHECK(buffer, "{}", buffer.error().message);
        device::copy_to_device(device, {}, buffer->data(), allocation.data, allocation.bytes);
        buffers_.push_back(std::move(*buffer));
    }
}

void Copy::move_tensor(Tensor& tensor, bool written) {
    size_t index = 0;
    for (const auto& [owner, allocation] : memory_.allocations()) {
        const auto* data = static_cast<const std::byte*>(tensor.data());
        if (data >= allocation.data && data < allocation.data + allocation.bytes) {
            if (written) written_.emplace_back(index, tensor);
            tensor = at(tensor, buffers_[index].data() + (data - allocation.data));
            return;
        }
        ++index;
    }
    CHECK(false, "{} is not the case's", tensor.describe());
}

void Copy::move_weight(Weight& weight, Visitor::Layout& layout, int64_t count, int64_t& stride_bytes) {
    const Weight host = weight;
    if (!weight.row_scale.empty()) move_tensor(weight.row_scale, false);
    weight.layout = packed_ ? layout(host.format, host.n, host.k, device_) : WeightLayout::row_major;
    weight.stored_bytes = packed_bytes(weight.format, weight.layout, weight.n, weight.k);
    const int64_t stride = count == 1 ? weight.stored_bytes : round_up(weight.stored_bytes, 256);
    auto buffer = device::Buffer::allocate(device_, stride * count, "a weight");
    CHECK(buffer, "{}", buffer.error().message);
    const int64_t codes = row_code_bytes(host.format, host.k), scales = row_scale_bytes(host.format, host.k);
    for (int64_t e = 0; e < count; ++e) {
        const std::byte* from = host.data + e * stride_bytes;
        const WeightSource source{
            .format = host.format,
            .n = host.n,
            .k = host.k,
            .scale = host.scale,
            .input_scale = host.input_scale,
            .row_scale = {},
            .read_rows = [&](int64_t row, int64_t rows, std::byte* to_codes, std::byte* to_scales) -> Result<void> {
                std::memcpy(to_codes, from + row * codes, static_cast<size_t>(rows * codes));
                if (to_scales != nullptr)
                    std::memcpy(to_scales, from + host.n * codes + row * scales, static_cast<size_t>(rows * scales));
                return {};
            }};
        Weight one = weight;
        one.data = buffer->data() + e * stride;
        const auto packed = pack(source, device_, {}, one);
        refused_ |= !packed.has_value();
    }
    weight.data = buffer->data();
    stride_bytes = stride;
    weights_.push_back(std::move(*buffer));
}

void Copy::fetch() {
    if (fetched_) return;
    for (const device::Buffer& buffer : buffers_) {
        host_.emplace_back(static_cast<size_t>(buffer.bytes()));
        device::copy_to_host(device_, {}, host_.back().data(), buffer.data(), buffer.bytes());
    }
    device::synchronize(device_, {});
    fetched_ = true;
}

std::vector<std::vector<float>> Copy::outputs() {
    fetch();
    std::vector<std::vector<float>> all;
    for (const auto& [index, tensor] : written_) {
        const auto& allocation = memory_.allocations()[index].second;
        all.push_back(
            values(at(tensor, host_[index].data() + (static_cast<const std::byte*>(tensor.data()) - allocation.data))));
    }
    return all;
}

std::vector<std::byte> Copy::output_bytes() {
    fetch();
    std::vector<std::byte> all;
    std::set<size_t> seen;
    for (const auto& [index, tensor] : written_)
        if (seen.insert(index).second) all.insert(all.end(), host_[index].begin(), host_[index].end());
    return all;
}

::testing::AssertionResult Copy::rest_is_unchanged() {
    fetch();
    // The written elements as they were, then everything must be as it was.
    for (const auto& [index, tensor] : written_) {
        const auto& allocation = memory_.allocations()[index].second;
        for_rows(tensor, [&](const std::byte* row, int64_t count) {
            std::memcpy(host_[index].data() + (row - allocation.data), row,
                        static_cast<size_t>(count * numeric::size_bytes(tensor.dtype())));
        });
    }
    size_t index = 0;
    for (const auto& [owner, allocation] : memory_.allocations()) {
        for (int64_t i = 0; i < allocation.bytes; ++i)
            if (host_[index][static_cast<size_t>(i)] != allocation.data[i])
                return ::testing::AssertionFailure()
                       << "byte " << i << " of allocation " << index << " (" << allocation.bytes << " bytes) changed";
        ++index;
    }
    fetched_ = false;
    host_.clear();
    return ::testing::AssertionSuccess();
}

const std::vector<device::Device>& devices() {
    static const std::vector<device::Device> all = [] {
        std::vector<device::Device> found = {device::cpu_device()};
        for (const device::Device& gpu : device::cuda_devices())
            if (const auto usable = device::find_device("cuda:" + std::to_string(gpu.index))) found.push_back(*usable);
        return found;
    }();
    return all;
}

ThreadPool& crew(int threads) {
    static std::map<int, std::unique_ptr<ThreadPool>> crews;
    auto& pool = crews[threads];
    if (!pool) pool = std::make_unique<ThreadPool>(threads);
    return *pool;
}

const std::vector<int64_t>& lesser_targets() {
    static const std::vector<int64_t> all = [] {
        std::vector<int64_t> masks;
        const int64_t supported = hwy::SupportedTargets();
        // A better target has a lower bit.
        for (int64_t rest = supported & (supported - 1); rest != 0; rest &= rest - 1)
            if (((rest & -rest) & HWY_DISABLED_TARGETS) == 0) masks.push_back(rest);
        return masks;
    }();
    return all;
}

void use_targets(int64_t targets) {
    hwy::SetSupportedTargetsForTest(targets);
    hwy::GetChosenTarget().DeInit();
}

void expect_close(Copy& copy, const std::vector<std::vector<float>>& expected, const Case& c, const std::string& row) {
    const auto outputs = copy.outputs();
    EXPECT_TRUE(copy.rest_is_unchanged()) << row << " " << c.name;
    for (size_t i = 0; i < outputs.size(); ++i) {
        const auto difference = numeric::compare(outputs[i], expected[i]);
        const size_t worst = static_cast<size_t>(std::max<int64_t>(difference.worst_index, 0));
        EXPECT_TRUE(difference.within(c.tolerance))
            << row << " " << c.name << ", output " << i << ": " << difference.describe() << " (" << outputs[i][worst]
            << ", expected " << expected[i][worst] << ")";
    }
}

std::map<std::string, int>& runs() {
    static std::map<std::string, int> counts;
    return counts;
}

namespace {

// Says at the end which rows ran, and which could not on this machine.
class Tally : public ::testing::Environment {
public:
    void TearDown() override {
        int skipped = 0;
        for (const auto& [row, cases] : runs()) {
            if (row.ends_with("/ref")) continue;
            std::printf("conformance: %-28s %s\n", row.c_str(),
                        cases > 0 ? (std::to_string(cases) + " cases").c_str() : "skipped on this machine");
            skipped += cases == 0;
        }
        if (!runs().empty()) std::printf("conformance: %d rows skipped\n", skipped);
    }
};
const auto* const kTally = ::testing::AddGlobalTestEnvironment(new Tally);

}  // namespace
}  // namespace nibble::ops::conformance
