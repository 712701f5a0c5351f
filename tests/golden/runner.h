// Runner: a model with a state of its own, stepped by hand: any number of sequences, any rows of each in a step.
//
// What the engine's step does, in its simplest form: pages and slots are given out once, in a scattered order, and
// every row's logits are computed. Test code: a failure to load ends the program.
#pragma once

#include "base/check.h"
#include "base/thread_pool.h"
#include "checkpoint/checkpoint.h"
#include "model/model.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

namespace nibble::model {

template <class T>
T must(Result<T> result) {
    CHECK(result.has_value(), "{}", result.error().message);
    return *std::move(result);
}

class Runner {
public:
    struct Part {
        int sequence;
        std::vector<int32_t> tokens;  // its next ones
    };
    using Row = std::vector<float>;  // logits

    Runner(const std::filesystem::path& folder, LoadOptions options, int sequences, int64_t longest, int threads = 1,
           ops::ForcedRows forced = {})
        : threads_(threads, false), forced_(std::move(forced)) {
        options.threads = &threads_;
        const bool data = options.source == LoadOptions::Source::checkpoint;
        model_ = must(load(must(checkpoint::Checkpoint::open(folder, {.headers_only = !data})), device_, options));
        const StateShape& shape = model_->spec().state;
        pages_each_ = (longest + shape.page_size - 1) / shape.page_size;
        state_ = must(State::allocate(device_, shape, sequences * pages_each_, sequences));
        arena_ = device::Arena(must(device::Buffer::allocate(device_, int64_t{256} << 20, "scratch")));
        length_.assign(static_cast<size_t>(sequences), 0);
        pages_.resize(static_cast<size_t>(sequences * pages_each_));
        slots_.resize(static_cast<size_t>(sequences));
        std::iota(pages_.begin(), pages_.end(), 0);
        std::iota(slots_.begin(), slots_.end(), 0);
        std::shuffle(pages_.begin(), pages_.end(), std::mt19937(1));
        std::reverse(slots_.begin(), slots_.end());
    }

    const Model& model() const { return *model_; }
    void restart(int sequence) { length_[sequence] = 0; }  // its slot and pages keep what they hold

    // The logits of every row of every part, in order.
    std::vector<std::vector<Row>> step(const std::vector<Part>& parts) {
        std::vector<int32_t> tokens, positions, row_start{0}, context, table, slot, rows;
        ops::Sequences s;
        for (const Part& part : parts) {
            const auto count = static_cast<int64_t>(part.tokens.size());
            for (int32_t token : part.tokens) {
                positions.push_back(static_cast<int32_t>(length_[part.sequence]++));
                tokens.push_back(token);
            }
            CHECK(length_[part.sequence] <= pages_each_ * model_->spec().state.page_size);
            row_start.push_back(static_cast<int32_t>(tokens.size()));
            context.push_back(static_cast<int32_t>(length_[part.sequence]));
            const auto first = pages_.begin() + part.sequence * pages_each_;
            table.insert(table.end(), first, first + pages_each_);
            slot.push_back(slots_[part.sequence]);
            s.max_rows = std::max(s.max_rows, count);
            s.max_context = std::max(s.max_context, length_[part.sequence]);
            s.total_context += length_[part.sequence];
        }
        rows.resize(tokens.size());
        std::iota(rows.begin(), rows.end(), 0);
        const auto tensor = [](std::vector<int32_t>& v) {
            return device::Tensor(v.data(), device::DType::i32, {static_cast<int64_t>(v.size())});
        };
        s.count = static_cast<int64_t>(parts.size());
        s.tokens = static_cast<int64_t>(tokens.size());
        s.row_start = tensor(row_start);
        s.context_length = tensor(context);
        s.page_table = tensor(table).reshape({s.count, pages_each_});
        s.slot = tensor(slot);
        s.page_size = model_->spec().state.page_size;
        const Batch batch{
            .tokens = tensor(tokens), .positions = tensor(positions), .sequences = s, .logit_rows = tensor(rows)};

        const int64_t vocab = model_->spec().vocab_size;
        std::vector<float> logits(tokens.size() * static_cast<size_t>(vocab));
        ops::OpContext context_of_step{.device = &device_,
                                       .threads = &threads_,
                                       .arena = &arena_,
                                       .forced = &forced_,
                                       .activation = model_->spec().activation};
        model_->forward(context_of_step, batch, state_,
                        device::Tensor(logits.data(), device::DType::f32, {s.tokens, vocab}));
        CHECK(arena_.used_bytes() == 0);

        std::vector<std::vector<Row>> out;
        auto next = logits.begin();
        for (const Part& part : parts) {
            auto& of_part = out.emplace_back();
            for (size_t i = 0; i < part.tokens.size(); ++i, next += vocab) of_part.emplace_back(next, next + vocab);
        }
        return out;
    }

    // All of a new sequence, `chunk` tokens a step.
    std::vector<Row> prefill(int sequence, const std::vector<int32_t>& tokens, size_t chunk) {
        restart(sequence);
        std::vector<Row> rows;
        for (size_t begin = 0; begin < tokens.size(); begin += chunk) {
            const size_t end = std::min(tokens.size(), begin + chunk);
            auto out =
                step({{sequence,
                       {tokens.begin() + static_cast<int64_t>(begin), tokens.begin() + static_cast<int64_t>(end)}}});
            std::move(out[0].begin(), out[0].end(), std::back_inserter(rows));
        }
        return rows;
    }

private:
    const device::Device device_ = device::cpu_device();
    ThreadPool threads_;
    ops::ForcedRows forced_;
    std::unique_ptr<Model> model_;
    State state_ = State::describe({}, 0, 0);
    device::Arena arena_;
    int64_t pages_each_ = 0;
    std::vector<int64_t> length_;
    std::vector<int32_t> pages_, slots_;
};

}  // namespace nibble::model
