// Every tiny checkpoint against what transformers computes from it (tools/make_golden.py), and against itself: the same
// bits however a sequence is cut into steps and whoever shares them.
//
// NIBBLE_GOLDEN names another folder of checkpoints than the committed one: other seeds must pass as well.
// NIBBLE_DEVICE names another device than the CPU: cuda.
#include "runner.h"

#include "model/blocks/rotary.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace nibble::model {
namespace {

using device::DType;

std::filesystem::path golden_folder() {
    const char* other = std::getenv("NIBBLE_GOLDEN");
    return other != nullptr ? other : NIBBLE_SOURCE_DIR "/tests/golden";
}

nlohmann::json read_golden(const std::filesystem::path& folder) {
    std::ifstream file(folder / "golden.json");
    return nlohmann::json::parse(file);
}

// All of them, or those whose golden.json has a field.
std::vector<std::string> golden_names(const char* field = "prompts") {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(golden_folder()))
        if (std::filesystem::exists(entry.path() / "golden.json") && read_golden(entry.path()).contains(field))
            names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
}

std::string test_name(const testing::TestParamInfo<std::string>& info) {
    std::string name = info.param;
    std::replace(name.begin(), name.end(), '-', '_');
    return name;
}

struct Prompt {
    std::vector<int32_t> tokens;
    std::vector<double> logprobs;  // of tokens[1 …]
    std::vector<std::vector<int32_t>> top_ids;
    std::vector<std::vector<double>> top_logprobs;
    std::vector<int32_t> greedy;
    std::vector<double> greedy_logprobs, greedy_margins;
    std::vector<double> fp8_cache;  // logprobs with keys and values kept as E4M3, where the golden has them

    std::vector<int32_t> all() const {  // prompt and continuation
        std::vector<int32_t> whole = tokens;
        whole.insert(whole.end(), greedy.begin(), greedy.end());
        return whole;
    }
};

std::vector<double> log_softmax(const Runner::Row& logits) {
    const double largest = *std::max_element(logits.begin(), logits.end());
    double total = 0;
    for (float l : logits) total += std::exp(l - largest);
    std::vector<double> out;
    for (float l : logits) out.push_back(l - largest - std::log(total));
    return out;
}

struct Error {
    double sum = 0, most = 0;
    int64_t count = 0;

    void add(double found, double expected) {
        sum += std::abs(found - expected);
        most = std::max(most, std::abs(found - expected));
        ++count;
    }
    double mean() const { return sum / static_cast<double>(count); }
};

class Golden : public testing::TestWithParam<std::string> {
protected:
    Golden() {
        const auto json = read_golden(folder());
        margin_ = json.at("margin");
        for (const auto& p : json.at("prompts")) {
            Prompt& prompt = prompts_.emplace_back();
            p.at("tokens").get_to(prompt.tokens);
            p.at("logprobs").get_to(prompt.logprobs);
            p.at("top_ids").get_to(prompt.top_ids);
            p.at("top_logprobs").get_to(prompt.top_logprobs);
            for (const auto& g : p.at("greedy")) {
                prompt.greedy.push_back(g.at("token"));
                prompt.greedy_logprobs.push_back(g.at("logprob"));
                prompt.greedy_margins.push_back(g.at("margin"));
            }
            if (json.contains("fp8_cache")) json["fp8_cache"].at(prompts_.size() - 1).get_to(prompt.fp8_cache);
            longest_ = std::max(longest_, static_cast<int64_t>(prompt.all().size()));
        }
    }

    std::filesystem::path folder() const { return golden_folder() / GetParam(); }

    Runner runner(DType activation, DType kv, Runner::Options options = {}, bool draft = false) const {
        options.sequences = static_cast<int>(prompts_.size());
        options.longest = longest_;
        return Runner(folder(), {.activation = activation, .kv_dtype = kv, .draft = draft}, options);
    }

    // Prefill of every prompt in one step each, then its greedy tokens one by one.
    Error compare(Runner& runner) const {
        Error error;
        for (int i = 0; i < static_cast<int>(prompts_.size()); ++i) {
            const Prompt& prompt = prompts_[i];
            const auto rows = runner.prefill(i, prompt.tokens, prompt.tokens.size());
            for (size_t t = 0; t < rows.size(); ++t) {
                const auto found = log_softmax(rows[t]);
                if (t + 1 < rows.size()) error.add(found[prompt.tokens[t + 1]], prompt.logprobs[t]);
                for (size_t k = 0; k < prompt.top_ids[t].size(); ++k)
                    error.add(found[prompt.top_ids[t][k]], prompt.top_logprobs[t][k]);
            }
            Runner::Row last = rows.back();
            for (size_t t = 0; t < prompt.greedy.size(); ++t) {
                const auto found = log_softmax(last);
                const auto chosen = std::max_element(found.begin(), found.end()) - found.begin();
                if (prompt.greedy_margins[t] >= margin_) {
                    EXPECT_EQ(chosen, prompt.greedy[t]) << "prompt " << i << ", token " << t;
                }
                error.add(found[prompt.greedy[t]], prompt.greedy_logprobs[t]);
                last = runner.step({{i, {prompt.greedy[t]}}})[0][0];
            }
        }
        RecordProperty("mean", fmt::format("{:.2e}", error.mean()));
        RecordProperty("most", fmt::format("{:.2e}", error.most));
        return error;
    }

    std::vector<Prompt> prompts_;
    int64_t longest_ = 0;
    double margin_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Every, Golden, testing::ValuesIn(golden_names()), test_name);

TEST_P(Golden, HasPromptsThatCrossPagesAndChunksWithClearContinuations) {
    ASSERT_GE(prompts_.size(), 4u);
    EXPECT_GT(longest_, 256);
    for (const Prompt& prompt : prompts_) {
        EXPECT_GE(prompt.greedy.size(), 32u);
        for (double margin : prompt.greedy_margins) EXPECT_GE(margin, 0.15);
    }
}

TEST_P(Golden, InFloat32EqualsTransformers) {
    Runner f32 = runner(DType::f32, DType::f32);
    const Error error = compare(f32);
    EXPECT_LE(error.most, 2e-4) << "mean " << error.mean();
}

TEST_P(Golden, ByTheReferenceRowsEqualsTransformers) {
    if (!test_device().is_cpu()) GTEST_SKIP() << "the reference rows are the CPU's";
    ops::ForcedRows forced;
    for (const char* op :
         {"linear", "rms_norm", "rope", "embed", "gather_rows", "attention", "mamba", "moe", "activate"})
        forced[op] = "ref";
    Runner f32 = runner(DType::f32, DType::f32, {.forced = forced});
    const Error error = compare(f32);
    EXPECT_LE(error.most, 2e-4) << "mean " << error.mean();
}

TEST_P(Golden, InBf16IsNearTransformersInFloat32) {
    Runner bf16 = runner(DType::bf16, DType::bf16);
    const Error error = compare(bf16);
    EXPECT_LE(error.mean(), 2e-2);
    EXPECT_LE(error.most, 1e-1);
}

class GoldenFp8Cache : public Golden {};
INSTANTIATE_TEST_SUITE_P(Every, GoldenFp8Cache, testing::ValuesIn(golden_names("fp8_cache")), test_name);

TEST_P(GoldenFp8Cache, EqualsTransformersWithRoundedKeysAndValues) {
    Runner fp8 = runner(DType::f32, DType::f8_e4m3);
    Error error;
    for (int i = 0; i < static_cast<int>(prompts_.size()); ++i) {
        const Prompt& prompt = prompts_[i];
        const auto rows = fp8.prefill(i, prompt.tokens, prompt.tokens.size());
        for (size_t t = 0; t + 1 < rows.size(); ++t)
            error.add(log_softmax(rows[t])[prompt.tokens[t + 1]], prompt.fp8_cache[t]);
    }
    // A key in the middle between two codes may be rounded to the other one: a step in one value, seldom.
    EXPECT_LE(error.mean(), 2e-4);
    EXPECT_LE(error.most, 2e-2);
}

void expect_same_bits(const std::vector<Runner::Row>& found, const std::vector<Runner::Row>& expected,
                      const std::string& what) {
    ASSERT_EQ(found.size(), expected.size()) << what;
    for (size_t t = 0; t < found.size(); ++t)
        for (size_t v = 0; v < found[t].size(); ++v)
            ASSERT_EQ(std::bit_cast<uint32_t>(found[t][v]), std::bit_cast<uint32_t>(expected[t][v]))
                << what << ", row " << t << ", logit " << v << ": " << found[t][v] << " and " << expected[t][v];
}

class GoldenBits : public Golden {
protected:
    void chunks(DType dtype, DType kv) const {
        Runner run = runner(dtype, kv), other = runner(dtype, kv, {.threads = 3, .page_size = 32});
        for (int i = 0; i < static_cast<int>(prompts_.size()); ++i) {
            const auto tokens = prompts_[i].all();
            const auto whole = other.prefill(i, tokens, tokens.size());
            for (size_t chunk : {1, 7, 16, 128, 130})
                expect_same_bits(run.prefill(i, tokens, chunk), whole,
                                 fmt::format("prompt {} in chunks of {}", i, chunk));
        }
    }

    // All sequences together, each advancing by a random number of rows a step, in random order.
    void company(DType dtype, DType kv) const {
        Runner run = runner(dtype, kv);
        const int count = static_cast<int>(prompts_.size());
        std::vector<std::vector<Runner::Row>> alone;
        for (int i = 0; i < count; ++i) alone.push_back(run.prefill(i, prompts_[i].all(), prompts_[i].all().size()));
        for (unsigned seed = 1; seed <= 3; ++seed) {
            std::mt19937 random(seed);
            std::vector<std::vector<Runner::Row>> together(static_cast<size_t>(count));
            for (int i = 0; i < count; ++i) run.restart(i);
            for (bool left = true; left;) {
                std::vector<Runner::Part> parts;
                left = false;
                for (int i = 0; i < count; ++i) {
                    const auto tokens = prompts_[i].all();
                    const size_t done = together[i].size();
                    left = left || done < tokens.size();
                    if (done == tokens.size() || random() % 4 == 0) continue;
                    const size_t most = random() % 2 ? 1 : random() % 40 + 1;
                    const size_t end = std::min(tokens.size(), done + most);
                    parts.push_back(
                        {i, {tokens.begin() + static_cast<int64_t>(done), tokens.begin() + static_cast<int64_t>(end)}});
                }
                std::shuffle(parts.begin(), parts.end(), random);
                if (parts.empty()) continue;
                auto rows = run.step(parts);
                for (size_t p = 0; p < parts.size(); ++p)
                    std::move(rows[p].begin(), rows[p].end(), std::back_inserter(together[parts[p].sequence]));
            }
            for (int i = 0; i < count; ++i)
                expect_same_bits(together[i], alone[i], fmt::format("prompt {} in company, seed {}", i, seed));
        }
    }
};
INSTANTIATE_TEST_SUITE_P(Every, GoldenBits, testing::ValuesIn(golden_names()), test_name);

TEST_P(GoldenBits, AreTheSameInAnyChunks) {
    chunks(DType::bf16, DType::bf16);
    chunks(DType::f32, DType::f32);
    chunks(DType::bf16, DType::f8_e4m3);
}

TEST_P(GoldenBits, AreTheSameInAnyCompany) {
    company(DType::bf16, DType::bf16);
    company(DType::f32, DType::f32);
}

// The draft block behind every step of prompt and continuation, but for the last token.
class GoldenDraft : public GoldenBits {
protected:
    static std::vector<int32_t> part(const std::vector<int32_t>& all, size_t begin, size_t end) {
        return {all.begin() + static_cast<int64_t>(begin), all.begin() + static_cast<int64_t>(end)};
    }
    std::vector<Runner::Row> drafts(Runner& runner, int i, size_t chunk) const {
        const auto all = prompts_[static_cast<size_t>(i)].all();
        std::vector<Runner::Row> rows;
        runner.restart(i);
        for (size_t begin = 0; begin + 1 < all.size(); begin += chunk) {
            const size_t end = std::min(begin + chunk, all.size() - 1);
            runner.step({{i, part(all, begin, end), part(all, begin + 1, end + 1)}});
            for (const Runner::Row& row : runner.drafted()[0]) rows.push_back(row);
        }
        return rows;
    }
    static void add(Error& error, const std::vector<Runner::Row>& rows, const nlohmann::json& expected) {
        const auto ids = expected.at("top_ids").get<std::vector<std::vector<int32_t>>>();
        const auto logprobs = expected.at("top_logprobs").get<std::vector<std::vector<double>>>();
        ASSERT_EQ(rows.size(), ids.size());
        for (size_t t = 0; t < rows.size(); ++t) {
            const auto found = log_softmax(rows[t]);
            for (size_t k = 0; k < ids[t].size(); ++k) error.add(found[static_cast<size_t>(ids[t][k])], logprobs[t][k]);
        }
    }
    Error compare_drafts(Runner& runner, const char* which) const {
        const auto expected = read_golden(folder()).at("draft");
        Error error;
        for (int i = 0; i < static_cast<int>(prompts_.size()); ++i) {
            const auto& its = expected[static_cast<size_t>(i)].at(which);
            if (std::string(which) == "first") {
                add(error, drafts(runner, i, 24), its);
                continue;
            }
            const auto all = prompts_[static_cast<size_t>(i)].all();
            const size_t n = all.size() - 2;
            runner.restart(i);
            runner.step({{i, part(all, 0, n), part(all, 1, n + 1), part(all, 2, n + 2)}});
            add(error, runner.drafted_again()[0], its);
        }
        return error;
    }
};
INSTANTIATE_TEST_SUITE_P(Every, GoldenDraft, testing::ValuesIn(golden_names("draft")), test_name);

TEST_P(GoldenDraft, InFloat32EqualsTransformersLayers) {
    Runner f32 = runner(DType::f32, DType::f32, {}, true);
    EXPECT_LE(compare_drafts(f32, "first").most, 2e-4);
    EXPECT_LE(compare_drafts(f32, "again").most, 2e-4);
}

TEST_P(GoldenDraft, InBf16IsNearTransformersInFloat32) {
    Runner bf16 = runner(DType::bf16, DType::bf16, {}, true);
    const Error error = compare_drafts(bf16, "first");
    EXPECT_LE(error.mean(), 2e-2);
    EXPECT_LE(error.most, 1e-1) << "mean " << error.mean();
}

TEST_P(GoldenDraft, HasTheSameBitsInAnyChunks) {
    for (const DType dtype : {DType::bf16, DType::f32}) {
        Runner run = runner(dtype, dtype, {}, true),
               other = runner(dtype, dtype, {.threads = 3, .page_size = 32}, true);
        for (int i = 0; i < static_cast<int>(prompts_.size()); ++i) {
            const auto whole = drafts(other, i, 1000);
            for (size_t chunk : {1, 16, 100})
                expect_same_bits(drafts(run, i, chunk), whole, fmt::format("prompt {} in chunks of {}", i, chunk));
        }
    }
}

TEST_P(GoldenDraft, ChangesNothingOfTheModel) {
    Runner with = runner(DType::bf16, DType::bf16, {}, true), without = runner(DType::bf16, DType::bf16);
    for (int i = 0; i < static_cast<int>(prompts_.size()); ++i) {
        const auto all = prompts_[static_cast<size_t>(i)].all();
        const auto rows = with.step({{i, part(all, 0, all.size() - 1), part(all, 1, all.size())}});
        expect_same_bits(rows[0], without.prefill(i, part(all, 0, all.size() - 1), all.size()), "with a draft");
    }
    EXPECT_EQ(with.model().spec().state.attention.size(), without.model().spec().state.attention.size() + 1);
    EXPECT_GT(with.model().spec().weight_bytes, without.model().spec().weight_bytes);
}

TEST(Rotary, HasTransformersFrequenciesForEveryKindOfScaling) {
    std::ifstream file(golden_folder() / "rotary.json");
    const auto cases = nlohmann::json::parse(file);
    ASSERT_GE(cases.size(), 12u);
    for (const auto& one : cases) {
        const std::string text = one["config"].dump();
        const auto config = must(checkpoint::Config::parse(text, "config.json"));
        const int64_t head_dim = one["head_dim"], positions = one["config"]["max_position_embeddings"];
        const Rotary rotary = must(read_rotary(config, head_dim, positions));
        const auto expected = one["inv_freq"].get<std::vector<float>>();
        ASSERT_EQ(rotary.inv_freq.size(), expected.size()) << text;
        for (size_t i = 0; i < expected.size(); ++i)
            EXPECT_NEAR(rotary.inv_freq[i], expected[i], 3e-7 * expected[i]) << text << ", pair " << i;
        EXPECT_NEAR(rotary.scale, one["scale"].get<float>(), 1e-7) << text;
        EXPECT_LE(rotary.max_context, positions);
    }
}

}  // namespace
}  // namespace nibble::model
