// The conformance test of the op tables (tests only): every row that this machine can run against the op's reference.
//
// A test describes its arguments in host memory (Memory), with weights row-major. check_rows() copies that memory for
// every row of the table and every device at hand, packs the weights as the device's loader would, runs the row with
// exactly the scratch it asked for, and compares:
//   outputs          within the case's tolerance of row "ref";
//   all other bytes  unchanged (inputs, the gaps between strided rows);
//   again            bit for bit the same with other numbers of threads; within tolerance on every lesser SIMD target.
// Rows that no case could run are counted and printed at the end.
#pragma once

#include "base/thread_pool.h"
#include "device/buffer.h"
#include "numeric/bf16.h"
#include "numeric/compare.h"
#include "numeric/fp8.h"
#include "ops/element.h"
#include "ops/op.h"
#include "ops/weight.h"

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace nibble::ops::conformance {

using Generator = std::mt19937;

// Host memory of one case. Allocations never move.
class Memory {
public:
    // Rows of a [R, C] tensor are `gap` elements further apart than they need be; the gaps are never to be touched.
    Tensor tensor(DType dtype, std::initializer_list<int64_t> shape, int64_t gap = 0);
    // A row-major weight of random codes. Values are of order `magnitude`.
    Weight weight(WeightFormat format, int64_t n, int64_t k, Generator& random, float magnitude = 1.0f,
                  bool row_scale = false);

    // `count` of them, stride_bytes apart; every one with the same scale.
    Weight weights(WeightFormat format, int64_t count, int64_t n, int64_t k, Generator& random, float magnitude,
                   int64_t& stride_bytes);

    struct Allocation {
        std::byte* data;
        int64_t bytes;
    };
    Allocation add(int64_t bytes);
    const std::deque<std::pair<std::unique_ptr<std::byte[]>, Allocation>>& allocations() const { return allocations_; }

private:
    std::deque<std::pair<std::unique_ptr<std::byte[]>, Allocation>> allocations_;
};

// Elements of a rank-1 or rank-2 (or contiguous) tensor, row by row.
std::vector<float> values(const Tensor& tensor);
void fill(const Tensor& tensor, const std::function<float()>& next);
void fill_normal(const Tensor& tensor, Generator& random, float deviation = 1.0f);
// Rows whose magnitudes range from 1e-12 to 1e12, with zeros among them.
void fill_adversarial(const Tensor& tensor, Generator& random);
void fill_integers(const Tensor& tensor, const std::vector<int32_t>& integers);

// What visits an op's arguments: every tensor with whether the op writes it, and every weight.
struct Visitor {
    std::function<void(Tensor&, bool written)> tensor;
    using Layout = WeightLayout(WeightFormat format, int64_t n, int64_t k, const device::Device& device);
    // count matrices, `stride_bytes` apart (experts); 1 for a plain weight. In the layout that the model gives it.
    std::function<void(Weight&, Layout& layout, int64_t count, int64_t& stride_bytes)> weight;

    void operator()(Tensor& t, bool written = false) const {
        if (!t.empty()) tensor(t, written);
    }
    void operator()(Weight& w, Layout& layout = preferred_layout) const {
        int64_t stride = 0;
        if (!w.empty()) weight(w, layout, 1, stride);
    }
};

// A copy of a case's memory on a device, to which its arguments are moved.
class Copy {
public:
    Copy(const Memory& memory, const device::Device& device, bool packed);
    template <class Args>
    Args move(const Args& args) {
        Args moved = args;
        visit(moved, Visitor{.tensor = [this](Tensor& t, bool written) { move_tensor(t, written); },
                             .weight = [this](Weight& w, Visitor::Layout& layout, int64_t count,
                                              int64_t& stride) { move_weight(w, layout, count, stride); }});
        return moved;
    }
    bool has_weights() const { return !weights_.empty(); }
    bool refused() const { return refused_; }  // a weight's layout cannot hold its values
    // Back in host memory: the written tensors, and whether nothing else was touched.
    std::vector<std::vector<float>> outputs();
    std::vector<std::byte> output_bytes();
    ::testing::AssertionResult rest_is_unchanged();

private:
    void move_tensor(Tensor& tensor, bool written);
    void move_weight(Weight& weight, Visitor::Layout& layout, int64_t count, int64_t& stride_bytes);
    void fetch();

    const Memory& memory_;
    const device::Device& device_;
    bool packed_, refused_ = false, fetched_ = false;
    std::vector<device::Buffer> buffers_;  // one an allocation
    std::vector<device::Buffer> weights_;
    std::vector<std::vector<std::byte>> host_;        // after the run
    std::vector<std::pair<size_t, Tensor>> written_;  // allocation, and the tensor in the case's host memory
};

// The devices whose rows are tested: the CPU, and every GPU that this build can use.
const std::vector<device::Device>& devices();
ThreadPool& crew(int threads);

// SIMD targets of this processor beside the best one, which Highway rows are also compiled for. 0: all of them.
const std::vector<int64_t>& lesser_targets();
void use_targets(int64_t targets);

// How often each row ran: op/row -> cases. Printed by the last test of the program.
std::map<std::string, int>& runs();

template <class Args>
void run_row(const Op<Args>& op, const Row<Args>& row, const Args& args, const device::Device& device,
             ThreadPool* threads, DType activation) {
    const int64_t scratch = row.scratch_bytes != nullptr ? row.scratch_bytes(args, device) : 0;
    auto buffer = device::Buffer::allocate(device, scratch, "scratch");
    ASSERT_TRUE(buffer) << buffer.error().message;
    // Scratch holds anything: here numbers that are none.
    const std::vector<std::byte> anything(static_cast<size_t>(scratch), std::byte{0xFF});
    device::copy_to_device(device, {}, buffer->data(), anything.data(), scratch);
    device::synchronize(device, {});
    device::Arena arena(std::move(*buffer));
    OpContext context{.device = &device, .threads = threads, .arena = &arena, .activation = activation};
    context.module = op.name;
    row.run(context, args);
    device::synchronize(device, context.stream);
}

struct Case {
    std::string name;
    numeric::Tolerance tolerance;
    DType activation = DType::bf16;
    std::vector<int> threads = {2};
};

void expect_close(Copy& copy, const std::vector<std::vector<float>>& expected, const Case& c, const std::string& row);

// args point into memory. Returns the outputs of the reference.
template <class Args>
std::vector<std::vector<float>> check_rows(const Op<Args>& op, const Memory& memory, const Args& args, const Case& c) {
    const device::Device& cpu = devices().front();
    const Row<Args>* reference = select(op, args, cpu, "ref");
    EXPECT_NE(reference, nullptr);
    Copy reference_copy(memory, cpu, false);
    run_row(op, *reference, reference_copy.move(args), cpu, nullptr, c.activation);
    const auto expected = reference_copy.outputs();
    EXPECT_TRUE(reference_copy.rest_is_unchanged()) << op.name << "/ref " << c.name;

    for (const device::Device& device : devices())
        for (const Row<Args>& row : op.rows) {
            const std::string name = std::string(op.name) + "/" + row.name;
            runs().try_emplace(name, 0);
            if (&row == reference || !arch_matches(row.arch, device)) continue;
            for (const bool packed : {true, false}) {
                Copy copy(memory, device, packed);
                const Args moved = copy.move(args);
                if (!packed && !copy.has_weights()) break;
                if (copy.refused()) continue;  // the layout has no place for such values, and packing says so
                if (row.accepts != nullptr && !row.accepts(moved, device)) continue;
                ++runs()[name];
                run_row(op, row, moved, device, device.is_cpu() ? &crew(1) : nullptr, c.activation);
                const auto bytes = copy.output_bytes();
                expect_close(copy, expected, c, name);
                if (!device.is_cpu()) continue;
                for (const int64_t targets : lesser_targets()) {
                    use_targets(targets);
                    Copy again(memory, device, packed);
                    run_row(op, row, again.move(args), device, nullptr, c.activation);
                    use_targets(0);
                    expect_close(again, expected, c, name + fmt::format(" on SIMD targets {:#x}", targets));
                }
                for (const int threads : c.threads) {
                    Copy again(memory, device, packed);
                    run_row(op, row, again.move(args), device, &crew(threads), c.activation);
                    EXPECT_EQ(bytes, again.output_bytes()) << name << " " << c.name << " on " << threads << " threads";
                }
            }
        }
    return expected;
}

// Every row's output bytes for `args` (whole batch) and for `part` (some of its rows, with outputs of its own) agree
// where `part_of` says: part_of(whole outputs) are the bytes that part must have made.
template <class Args>
void check_independence(const Op<Args>& op, const Memory& memory, const Args& whole, const Args& part,
                        const std::string& name, DType activation,
                        const std::function<std::vector<float>(const std::vector<std::vector<float>>&)>& part_of) {
    for (const device::Device& device : devices())
        for (const Row<Args>& row : op.rows) {
            if (!arch_matches(row.arch, device)) continue;
            Copy a(memory, device, true), b(memory, device, true);
            const Args moved_whole = a.move(whole), moved_part = b.move(part);
            if (row.accepts != nullptr && (!row.accepts(moved_whole, device) || !row.accepts(moved_part, device)))
                continue;
            ThreadPool* threads = device.is_cpu() ? &crew(2) : nullptr;
            run_row(op, row, moved_whole, device, threads, activation);
            run_row(op, row, moved_part, device, threads, activation);
            const std::vector<float> expected = part_of(a.outputs()), found = b.outputs().front();
            ASSERT_EQ(expected.size(), found.size());
            EXPECT_EQ(std::memcmp(expected.data(), found.data(), found.size() * sizeof(float)), 0)
                << op.name << "/" << row.name << " " << name;
        }
}

}  // namespace nibble::ops::conformance
