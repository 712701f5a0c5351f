// Runner: a model with a state of its own, stepped by hand: any number of sequences, any rows of each in a step.
//
// What the engine's step does, in its simplest form: pages and slots are given out once, in a scattered order, and
// every row's logits are computed. Runs on the CPU, or on the device that NIBBLE_DEVICE names. Test code: a failure to
// load ends the program.
#pragma once

#include "base/check.h"
#include "base/thread_pool.h"
#include "checkpoint/checkpoint.h"
#include "model/model.h"

#include <algorithm>
#include <cstdlib>
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

inline device::Device test_device() {
    const char* name = std::getenv("NIBBLE_DEVICE");
    return must(device::find_device(name != nullptr ? name : "cpu"));
}

class Runner {
public:
    struct Part {
        int sequence;
        std::vector<int32_t> tokens;  // its next ones
        // The token after each of them: the draft block runs behind the step. `again`: those after these; it runs a
        // second time, on what it gave.
        std::vector<int32_t> following = {}, again = {};
    };
    using Row = std::vector<float>;  // logits
    struct Options {
        int sequences = 1;
        int64_t longest = 0;  // tokens of a sequence
        int threads = 1;
        int64_t page_size = 16;
        ops::ForcedRows forced = {};
    };

    Runner(const std::filesystem::path& folder, LoadOptions load_options, const Options& options)
        : threads_(options.threads, false), forced_(options.forced) {
        load_options.threads = &threads_;
        const bool headers_only = load_options.source != LoadOptions::Source::checkpoint;
        model_ = must(
            load(must(checkpoint::Checkpoint::open(folder, {.headers_only = headers_only})), device_, load_options));
        StateShape shape = model_->spec().state;
        shape.page_size = options.page_size;
        pages_each_ = (options.longest + shape.page_size - 1) / shape.page_size;
        state_ = must(State::allocate(device_, shape, options.sequences * pages_each_, options.sequences));
        arena_ = device::Arena(must(device::Buffer::allocate(device_, int64_t{256} << 20, "scratch")));
        length_.assign(static_cast<size_t>(options.sequences), 0);
        pages_.resize(static_cast<size_t>(options.sequences * pages_each_));
        slots_.resize(static_cast<size_t>(options.sequences));
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
            CHECK(length_[part.sequence] <= pages_each_ * state_.shape().page_size);
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
        std::vector<int32_t> following, again;
        for (const Part& part : parts) {
            following.insert(following.end(), part.following.begin(), part.following.end());
            again.insert(again.end(), part.again.begin(), part.again.end());
        }
        CHECK(following.empty() || following.size() == tokens.size());
        CHECK(again.empty() || again.size() == following.size());

        const int64_t vocab = model_->spec().vocab_size;
        device::ArenaScope scope(arena_);
        s.count = static_cast<int64_t>(parts.size());
        s.tokens = static_cast<int64_t>(tokens.size());
        s.row_start = upload(row_start);
        s.context_length = upload(context);
        s.page_table = upload(table).reshape({s.count, pages_each_});
        s.slot = upload(slot);
        s.page_size = state_.shape().page_size;
        Batch batch{
            .tokens = upload(tokens), .positions = upload(positions), .sequences = s, .logit_rows = upload(rows)};
        const device::Tensor logits = arena_.allocate(device::DType::f32, {s.tokens, vocab});
        ops::OpContext context_of_step{.device = &device_,
                                       .threads = &threads_,
                                       .arena = &arena_,
                                       .forced = &forced_,
                                       .activation = model_->spec().activation};
        const auto rows_for_each_token = [&] {
            return arena_.allocate(model_->spec().activation, {s.tokens, model_->spec().hidden_size});
        };
        const device::Tensor hidden = following.empty() ? device::Tensor() : rows_for_each_token();
        const device::Tensor next_hidden = following.empty() ? device::Tensor() : rows_for_each_token();
        const int64_t used = arena_.used_bytes();
        model_->forward(context_of_step, batch, state_, logits, hidden);
        CHECK(arena_.used_bytes() == used);
        std::vector<std::vector<Row>> out = download(logits, parts);
        drafted_.clear();
        drafted_again_.clear();
        if (following.empty()) return out;
        batch.tokens = upload(following);
        model_->forward_draft(context_of_step, batch, state_, hidden, logits, next_hidden);
        drafted_ = download(logits, parts);
        if (again.empty()) return out;
        batch.tokens = upload(again);
        model_->forward_draft(context_of_step, batch, state_, next_hidden, logits, {});
        drafted_again_ = download(logits, parts);
        return out;
    }
    // Of the last step, as step() gives them.
    const std::vector<std::vector<Row>>& drafted() const { return drafted_; }
    const std::vector<std::vector<Row>>& drafted_again() const { return drafted_again_; }

    // All of a new sequence, `chunk` tokens a step.
    std::vector<Row> prefill(int sequence, const std::vector<int32_t>& tokens, size_t chunk) {
        restart(sequence);
        std::vector<Row> rows;
        for (auto begin = tokens.begin(); begin != tokens.end();) {
            const auto end = begin + std::min<int64_t>(static_cast<int64_t>(chunk), tokens.end() - begin);
            auto out = step({{sequence, {begin, end}}});
            std::move(out[0].begin(), out[0].end(), std::back_inserter(rows));
            begin = end;
        }
        return rows;
    }

private:
    std::vector<std::vector<Row>> download(const device::Tensor& logits, const std::vector<Part>& parts) const {
        std::vector<float> values(static_cast<size_t>(logits.elements()));
        device::copy_to_host(device_, {}, values.data(), logits.data(), logits.bytes());
        device::synchronize(device_, {});
        std::vector<std::vector<Row>> out;
        auto next = values.begin();
        for (const Part& part : parts) {
            auto& of_part = out.emplace_back();
            for (size_t i = 0; i < part.tokens.size(); ++i, next += logits.dim(1))
                of_part.emplace_back(next, next + logits.dim(1));
        }
        return out;
    }
    device::Tensor upload(const std::vector<int32_t>& values) {
        const auto tensor = arena_.allocate(device::DType::i32, {static_cast<int64_t>(values.size())});
        device::copy_to_device(device_, {}, tensor.data(), values.data(), tensor.bytes());
        return tensor;
    }

    const device::Device device_ = test_device();
    ThreadPool threads_;
    ops::ForcedRows forced_;
    std::unique_ptr<Model> model_;
    State state_ = State::describe({}, 0, 0);
    device::Arena arena_;
    int64_t pages_each_ = 0;
    std::vector<std::vector<Row>> drafted_, drafted_again_;
    std::vector<int64_t> length_;
    std::vector<int32_t> pages_, slots_;
};

}  // namespace nibble::model
