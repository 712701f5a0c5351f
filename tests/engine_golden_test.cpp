// The engine on the tiny checkpoints of tests/golden: the tokens and log-probabilities that transformers computes, and
// the same bits whatever is asked beside, in which order, in which chunks, and however often it is preempted.
#include "checkpoint/checkpoint.h"
#include "engine/engine.h"
#include "engine/step.h"
#include "model/model.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace nibble::engine {
namespace {

struct Prompt {
    std::vector<TokenId> tokens;
    std::vector<float> logprobs;  // of tokens[1], tokens[2], …
    std::vector<TokenId> greedy;
    std::vector<float> greedy_logprobs;
};

std::filesystem::path golden_folder() {
    const char* other = std::getenv("NIBBLE_GOLDEN");
    return other != nullptr ? other : NIBBLE_SOURCE_DIR "/tests/golden";
}

std::vector<std::string> golden_names() {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(golden_folder()))
        if (std::filesystem::exists(entry.path() / "golden.json")) names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
}

std::vector<Prompt> read_prompts(const std::filesystem::path& folder) {
    std::ifstream file(folder / "golden.json");
    const nlohmann::json golden = nlohmann::json::parse(file);
    std::vector<Prompt> prompts;
    for (const auto& p : golden.at("prompts")) {
        Prompt& prompt = prompts.emplace_back();
        prompt.tokens = p.at("tokens").get<std::vector<TokenId>>();
        prompt.logprobs = p.at("logprobs").get<std::vector<float>>();
        for (const auto& g : p.at("greedy")) {
            prompt.greedy.push_back(g.at("token").get<TokenId>());
            prompt.greedy_logprobs.push_back(g.at("logprob").get<float>());
        }
    }
    return prompts;
}

Request greedy_request(const std::vector<TokenId>& prompt, int max_tokens) {
    Request request;
    request.prompt = prompt;
    request.sampling.temperature = 0;
    request.sampling.max_tokens = max_tokens;
    request.sampling.ignore_eos = true;
    request.sampling.logprobs = 2;
    return request;
}

struct Answer {
    std::vector<TokenId> tokens;
    std::vector<TokenLogprob> logprobs;
    std::vector<TokenEvent::PromptLogprob> prompt_logprobs;
};

Answer read_all(RequestStream& stream) {
    Answer answer;
    for (FinishReason finish = FinishReason::none; finish == FinishReason::none;) {
        auto event = stream.next(std::chrono::minutes(5));
        if (!event) {
            ADD_FAILURE() << "no event";
            break;
        }
        if (event->token >= 0) {
            answer.tokens.push_back(event->token);
            if (event->logprob) answer.logprobs.push_back(*event->logprob);
        }
        if (!event->prompt_logprobs.empty()) answer.prompt_logprobs = std::move(event->prompt_logprobs);
        finish = event->finish;
        EXPECT_TRUE(finish == FinishReason::none || finish == FinishReason::length || finish == FinishReason::stop);
    }
    return answer;
}

std::vector<Answer> ask_together(Engine& engine, const std::vector<Request>& requests) {
    std::vector<std::unique_ptr<RequestStream>> streams;
    for (const Request& request : requests) {
        auto stream = engine.submit(request);
        EXPECT_TRUE(stream) << stream.error().message;
        streams.push_back(std::move(*stream));
    }
    std::vector<Answer> answers;
    for (auto& stream : streams) answers.push_back(read_all(*stream));
    return answers;
}

bool same_bits(const TokenLogprob& a, const TokenLogprob& b) {
    return a.token == b.token && a.rank == b.rank &&
           std::bit_cast<uint32_t>(a.logprob) == std::bit_cast<uint32_t>(b.logprob);
}

class EngineGolden : public testing::TestWithParam<std::string> {
protected:
    std::unique_ptr<Engine> engine(const StepOptions& step, device::DType dtype) {
        auto checkpoint = checkpoint::Checkpoint::open(folder());
        EXPECT_TRUE(checkpoint) << checkpoint.error().message;
        auto model = model::load(*checkpoint, device::cpu_device(), {.activation = dtype, .kv_dtype = dtype});
        EXPECT_TRUE(model) << model.error().message;
        auto executor = ModelExecutor::create(std::move(*model), device::cpu_device(), &threads_, step);
        EXPECT_TRUE(executor) << executor.error().message;
        return std::make_unique<Engine>(std::move(*executor), EngineOptions{.max_sequences = step.max_sequences,
                                                                            .max_step_tokens = step.max_step_tokens});
    }
    std::filesystem::path folder() const { return golden_folder() / GetParam(); }

    ThreadPool threads_{2, false};
};
INSTANTIATE_TEST_SUITE_P(Every, EngineGolden, testing::ValuesIn(golden_names()), [](const auto& info) {
    std::string name = info.param;
    std::replace(name.begin(), name.end(), '-', '_');
    return name;
});

// Greedy tokens have a margin that rounding does not reach; log-probabilities have the stated bounds.
void expect_golden(const std::vector<Prompt>& prompts, const std::vector<Answer>& answers, double mean, double most) {
    double sum = 0, worst = 0;
    int64_t count = 0;
    const auto compare = [&](float found, float expected) {
        sum += std::abs(static_cast<double>(found) - expected);
        worst = std::max(worst, std::abs(static_cast<double>(found) - expected));
        ++count;
    };
    for (size_t i = 0; i < prompts.size(); ++i) {
        EXPECT_EQ(answers[i].tokens, prompts[i].greedy) << "prompt " << i;
        ASSERT_EQ(answers[i].prompt_logprobs.size(), prompts[i].tokens.size());
        ASSERT_EQ(answers[i].logprobs.size(), prompts[i].greedy.size());
        for (size_t t = 0; t < prompts[i].logprobs.size(); ++t)
            compare(answers[i].prompt_logprobs[t + 1].chosen.logprob, prompts[i].logprobs[t]);
        for (size_t t = 0; t < prompts[i].greedy.size(); ++t)
            compare(answers[i].logprobs[t].logprob, prompts[i].greedy_logprobs[t]);
    }
    EXPECT_LE(sum / static_cast<double>(count), mean);
    EXPECT_LE(worst, most);
}

TEST_P(EngineGolden, ComputesWhatTransformersComputes) {
    const std::vector<Prompt> prompts = read_prompts(folder());
    std::vector<Request> requests;
    for (const Prompt& prompt : prompts) {
        requests.push_back(greedy_request(prompt.tokens, static_cast<int>(prompt.greedy.size())));
        requests.back().sampling.prompt_logprobs = 0;
    }
    const StepOptions step{.pages = 200, .max_sequences = 8};
    expect_golden(prompts, ask_together(*engine(step, device::DType::f32), requests), 2e-4, 2e-4);
    expect_golden(prompts, ask_together(*engine(step, device::DType::bf16), requests), 2e-2, 1e-1);
}

TEST_P(EngineGolden, GivesTheSameBitsWhateverTheBatchTheOrderTheChunksAndThePreemptions) {
    std::vector<Request> requests;
    uint64_t seed = 1;
    for (const Prompt& prompt : read_prompts(folder())) {
        requests.push_back(greedy_request(prompt.tokens, 90));
        requests.push_back(greedy_request(prompt.tokens, 60));
        requests.back().sampling.temperature = 0.9f;
        requests.back().sampling.top_p = 0.95f;
        requests.back().sampling.repetition_penalty = 1.1f;
        requests.back().sampling.seed = seed++;
    }
    std::vector<Answer> alone;
    {
        const auto quiet = engine({.pages = 100, .max_sequences = 1}, device::DType::bf16);
        for (const Request& request : requests) alone.push_back(ask_together(*quiet, {request})[0]);
    }
    std::mt19937_64 random(7);
    uint64_t preemptions = 0;
    for (const int64_t chunk : {1, 7, 512}) {
        for (const int64_t pages : {1000, 60}) {
            if (chunk == 1 && pages == 1000) continue;  // slow, and chunks of one are tried below
            SCOPED_TRACE(testing::Message() << "chunks of " << chunk << ", " << pages << " pages");
            const auto busy =
                engine({.pages = pages, .max_sequences = 12, .max_step_tokens = chunk}, device::DType::bf16);
            std::vector<size_t> order(requests.size());
            for (size_t i = 0; i < order.size(); ++i) order[i] = i;
            std::shuffle(order.begin(), order.end(), random);
            std::vector<Request> shuffled;
            for (size_t i : order) shuffled.push_back(requests[i]);
            const std::vector<Answer> answers = ask_together(*busy, shuffled);
            for (size_t i = 0; i < order.size(); ++i) {
                const Answer &found = answers[i], &expected = alone[order[i]];
                EXPECT_EQ(found.tokens, expected.tokens) << "request " << order[i];
                EXPECT_TRUE(std::equal(found.logprobs.begin(), found.logprobs.end(), expected.logprobs.begin(),
                                       expected.logprobs.end(), same_bits))
                    << "request " << order[i];
            }
            preemptions += busy->stats().preemptions;
        }
    }
    EXPECT_GT(preemptions, 0u);
}

TEST(EngineGoldens, AreThere) {
    EXPECT_FALSE(golden_names().empty()) << "tools/make_golden.py makes them";
}

}  // namespace
}  // namespace nibble::engine
