#include "engine/step.h"

#include "engine/engine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

namespace nibble::engine {
namespace {

using device::DType;
using device::Tensor;

constexpr int64_t kVocab = 96;
constexpr TokenId kPoison = 95;  // a sequence with it has logits that are not numbers

// The logits after these tokens: made up, but a function of every one of them.
std::vector<float> logits_after(std::span<const TokenId> tokens) {
    uint64_t hash = 1;
    bool poisoned = false;
    for (TokenId token : tokens) {
        hash = (hash ^ static_cast<uint64_t>(token)) * 0x9E3779B97F4A7C15ull;
        hash ^= hash >> 29;
        poisoned |= token == kPoison;
    }
    std::mt19937 random(static_cast<uint32_t>(hash ^ (hash >> 32)));
    std::uniform_real_distribution<float> uniform(-4, 4);
    std::vector<float> logits(kVocab);
    for (float& l : logits) l = uniform(random);
    logits[kPoison] = -30;  // never drawn
    if (poisoned) logits[random() % kVocab] = std::numeric_limits<float>::quiet_NaN();
    return logits;
}

// Keeps every token in its page, as keys, and computes logits from what it finds there.
class PageModel final : public model::Model {
public:
    explicit PageModel(bool drafts = false) {
        spec_.drafts = drafts;
        spec_.hidden_size = 2;
        spec_.vocab_size = kVocab;
        spec_.max_context = 200;
        spec_.state.attention = {{.kv_heads = 1, .head_dim = 1}};
        spec_.state.kv_dtype = DType::f32;
        spec_.state.page_size = 4;
        spec_.activation = DType::f32;
    }
    void forward(ops::OpContext& context, const model::Batch& batch, const model::State& state, Tensor logits,
                 Tensor hidden) const override {
        device::ArenaScope arena(*context.arena);
        const int64_t tokens = batch.tokens.elements();
        const Tensor x = context.allocate(DType::f32, {tokens, 64});
        if (context.recording()) return;
        std::memset(x.data(), 0xff, static_cast<size_t>(x.bytes()));
        const ops::Sequences& s = batch.sequences;
        EXPECT_EQ(s.tokens, tokens);
        EXPECT_EQ(hidden.empty(), !spec_.drafts);
        for (int64_t t = 0; t < tokens && !hidden.empty(); ++t) {
            hidden.row_as<float>(t)[0] = static_cast<float>(batch.tokens.as<int32_t>()[t]);
            hidden.row_as<float>(t)[1] = static_cast<float>(batch.positions.as<int32_t>()[t]);
        }
        EXPECT_EQ(logits.dim(0), batch.logit_rows.elements());
        int64_t r = 0;
        for (int64_t b = 0; b < s.count; ++b) {
            const int32_t* pages = s.page_table.row_as<int32_t>(b);
            const auto slot = [&](int32_t position) -> float& {
                const int64_t page = pages[position / s.page_size];
                return state.k_pages(0).row_as<float>(page)[position % s.page_size];
            };
            const int32_t begin = s.row_start.as<int32_t>()[b], end = s.row_start.as<int32_t>()[b + 1];
            EXPECT_LE(end - begin, s.max_rows);
            EXPECT_EQ(batch.positions.as<int32_t>()[end - 1] + 1, s.context_length.as<int32_t>()[b]);
            for (int32_t t = begin; t < end; ++t) {
                const int32_t position = batch.positions.as<int32_t>()[t];
                slot(position) = static_cast<float>(batch.tokens.as<int32_t>()[t]);
                if (r == batch.logit_rows.elements() || batch.logit_rows.as<int32_t>()[r] != t) continue;
                std::vector<TokenId> seen;
                for (int32_t p = 0; p <= position; ++p) seen.push_back(static_cast<TokenId>(slot(p)));
                const std::vector<float> row = logits_after(seen);
                std::copy(row.begin(), row.end(), logits.row_as<float>(r++));
            }
        }
        EXPECT_EQ(r, batch.logit_rows.elements());
    }
    // Its likeliest token is the sum of the step's token, its position and the token that follows.
    void forward_draft(ops::OpContext& context, const model::Batch& batch, const model::State&, Tensor hidden,
                       Tensor logits, Tensor next_hidden) const override {
        EXPECT_TRUE(next_hidden.empty());
        if (context.recording()) return;
        for (int64_t r = 0; r < batch.logit_rows.elements(); ++r) {
            const int32_t t = batch.logit_rows.as<int32_t>()[r];
            const float* its = hidden.row_as<float>(t);
            const auto best = static_cast<int32_t>(its[0] + its[1]) + batch.tokens.as<int32_t>()[t];
            std::fill_n(logits.row_as<float>(r), kVocab, 0.0f);
            logits.row_as<float>(r)[best % kVocab] = 1.0f;
        }
    }
};

std::unique_ptr<ModelExecutor> executor(const StepOptions& options, ThreadPool* threads = nullptr) {
    auto made = ModelExecutor::create(std::make_unique<PageModel>(), device::cpu_device(), threads, options);
    EXPECT_TRUE(made) << made.error().message;
    return std::move(*made);
}

struct Answer {
    std::vector<TokenEvent> events;
    std::vector<TokenId> tokens() const {
        std::vector<TokenId> all;
        for (const TokenEvent& e : events)
            if (e.token >= 0) all.push_back(e.token);
        return all;
    }
};

Answer read_all(RequestStream& stream) {
    Answer answer;
    do {
        auto event = stream.next(std::chrono::minutes(1));
        EXPECT_TRUE(event.has_value());
        if (!event) break;
        answer.events.push_back(std::move(*event));
    } while (answer.events.back().finish == FinishReason::none);
    return answer;
}

Answer ask(Engine& engine, const Request& request) {
    auto stream = engine.submit(request);
    EXPECT_TRUE(stream);
    return read_all(**stream);
}

Request request(std::vector<TokenId> prompt, int max_tokens) {
    Request r;
    r.prompt = std::move(prompt);
    r.sampling.max_tokens = max_tokens;
    r.sampling.temperature = 0;
    return r;
}

double log_softmax(const std::vector<float>& logits, TokenId token) {
    double sum = 0;
    for (float l : logits) sum += std::exp(static_cast<double>(l));
    return logits[static_cast<size_t>(token)] - std::log(sum);
}

TEST(ModelExecutor, GreedyTokensAndLogprobsAreThoseOfTheModelsLogits) {
    Engine engine(executor({.pages = 60, .max_sequences = 4, .max_step_tokens = 8}), {});
    Request r = request({3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3}, 12);
    r.sampling.logprobs = 3;
    r.sampling.prompt_logprobs = 2;
    const Answer answer = ask(engine, r);
    ASSERT_EQ(answer.tokens().size(), 12u);
    std::vector<TokenId> seen;
    const auto& prompt_logprobs = answer.events[0].prompt_logprobs;
    ASSERT_EQ(prompt_logprobs.size(), r.prompt.size());
    for (size_t i = 0; i < r.prompt.size(); ++i) {
        EXPECT_EQ(prompt_logprobs[i].chosen.token, r.prompt[i]);
        if (i > 0) {
            const std::vector<float> logits = logits_after(seen);
            EXPECT_NEAR(prompt_logprobs[i].chosen.logprob, log_softmax(logits, r.prompt[i]), 1e-5);
            ASSERT_EQ(prompt_logprobs[i].top.size(), 2u);
            EXPECT_EQ(prompt_logprobs[i].top[0].token, std::max_element(logits.begin(), logits.end()) - logits.begin());
        }
        seen.push_back(r.prompt[i]);
    }
    for (const TokenEvent& event : answer.events) {
        const std::vector<float> logits = logits_after(seen);
        EXPECT_EQ(event.token, std::max_element(logits.begin(), logits.end()) - logits.begin());
        EXPECT_EQ(event.logprob->rank, 1);
        EXPECT_NEAR(event.logprob->logprob, log_softmax(logits, event.token), 1e-5);
        ASSERT_EQ(event.top.size(), 3u);
        EXPECT_EQ(event.top[0].token, event.token);
        EXPECT_EQ(event.top[0].logprob, event.logprob->logprob);
        EXPECT_GE(event.top[1].logprob, event.top[2].logprob);
        seen.push_back(event.token);
    }
}

// A mix of everything that a request may ask.
std::vector<Request> mixed_requests(uint64_t seed, int count) {
    std::mt19937_64 random(seed);
    std::vector<Request> requests;
    for (int i = 0; i < count; ++i) {
        Request r = request({}, static_cast<int>(1 + random() % 40));
        r.prompt.resize(1 + random() % 60);
        for (TokenId& token : r.prompt) token = static_cast<TokenId>(random() % (kVocab - 1));
        SamplingParams& s = r.sampling;
        s.temperature = static_cast<float>(random() % 3) * 0.6f;
        s.seed = random();
        if (random() % 2) s.top_p = 0.9f;
        if (random() % 2) s.top_k = 20;
        if (random() % 3 == 0) s.min_p = 0.02f;
        if (random() % 2) s.repetition_penalty = 1.3f;
        if (random() % 2) s.frequency_penalty = 0.4f;
        if (random() % 3 == 0) s.presence_penalty = -0.5f;
        if (random() % 3 == 0) s.logit_bias = {{5, 3.0f}, {7, -100.0f}};
        if (random() % 2) s.stop_ids = {static_cast<TokenId>(random() % 90), static_cast<TokenId>(random() % 90)};
        s.min_tokens = static_cast<int>(random() % static_cast<uint64_t>(s.max_tokens));
        s.logprobs = static_cast<int>(random() % 4) - 1;
        if (random() % 4 == 0) s.prompt_logprobs = 1;
        requests.push_back(std::move(r));
    }
    return requests;
}

void expect_same(const Answer& a, const Answer& b) {
    ASSERT_EQ(a.tokens(), b.tokens());
    ASSERT_EQ(a.events.size(), b.events.size());
    const auto same = [](const TokenLogprob& x, const TokenLogprob& y) {
        return x.token == y.token && x.rank == y.rank &&
               std::bit_cast<uint32_t>(x.logprob) == std::bit_cast<uint32_t>(y.logprob);
    };
    for (size_t i = 0; i < a.events.size(); ++i) {
        const TokenEvent &x = a.events[i], &y = b.events[i];
        EXPECT_EQ(x.finish, y.finish);
        ASSERT_EQ(x.logprob.has_value(), y.logprob.has_value());
        EXPECT_TRUE(!x.logprob || same(*x.logprob, *y.logprob));
        EXPECT_TRUE(std::equal(x.top.begin(), x.top.end(), y.top.begin(), y.top.end(), same));
        ASSERT_EQ(x.prompt_logprobs.size(), y.prompt_logprobs.size());
        for (size_t p = 0; p < x.prompt_logprobs.size(); ++p)
            EXPECT_TRUE(same(x.prompt_logprobs[p].chosen, y.prompt_logprobs[p].chosen));
    }
}

TEST(ModelExecutor, ResultIsTheSameWhateverTheBatchTheChunksAndThePreemptions) {
    const std::vector<Request> requests = mixed_requests(1, 40);
    std::vector<Answer> alone;
    {
        Engine engine(executor({.pages = 50, .max_sequences = 1, .max_step_tokens = 512}), {});
        for (const Request& r : requests) alone.push_back(ask(engine, r));
    }
    ThreadPool threads(2, false);
    uint64_t preemptions = 0;
    for (int64_t chunk : {1, 7, 64, 512}) {
        SCOPED_TRACE(chunk);
        Engine engine(
            executor({.pages = 60, .max_sequences = 16, .max_step_tokens = chunk, .max_logit_rows = 20}, &threads), {});
        std::vector<std::unique_ptr<RequestStream>> streams;
        for (const Request& r : requests) streams.push_back(std::move(*engine.submit(r)));
        for (size_t i = 0; i < streams.size(); ++i) expect_same(read_all(*streams[i]), alone[i]);
        preemptions += engine.stats().preemptions;
    }
    EXPECT_GT(preemptions, 0u);
}

TEST(ModelExecutor, StopIdsAreMaskedUntilMinTokens) {
    Engine engine(executor({.pages = 60, .max_sequences = 4}), {});
    Request r = request({1, 2, 3}, 30);
    const std::vector<TokenId> free_run = ask(engine, r).tokens();
    r.sampling.stop_ids = {free_run[0], free_run[1], free_run[5]};
    EXPECT_EQ(ask(engine, r).tokens().size(), 1u);
    r.sampling.min_tokens = 10;
    const std::vector<TokenId> tokens = ask(engine, r).tokens();
    ASSERT_GE(tokens.size(), 11u);
    for (int i = 0; i < 10; ++i)
        for (TokenId stop : r.sampling.stop_ids) EXPECT_NE(tokens[static_cast<size_t>(i)], stop);
    r.sampling.ignore_eos = true;
    EXPECT_EQ(ask(engine, r).tokens(), free_run);
}

// A frequency penalty of 2 and a presence penalty of 2 take at least 4 from any logit of [-4, 4] that was drawn.
TEST(ModelExecutor, PenaltiesCountTheOutputAndRepetitionThePromptToo) {
    Engine engine(executor({.pages = 60, .max_sequences = 4}), {});
    Request r = request({1, 2, 3}, 40);
    r.sampling.frequency_penalty = 2;
    r.sampling.presence_penalty = 2;
    std::vector<TokenId> seen = r.prompt;
    std::map<TokenId, int> counts;
    for (TokenId token : ask(engine, r).tokens()) {
        std::vector<float> logits = logits_after(seen);
        for (auto [t, n] : counts) logits[static_cast<size_t>(t)] -= 2.0f * static_cast<float>(n) + 2.0f;
        EXPECT_EQ(token, std::max_element(logits.begin(), logits.end()) - logits.begin());
        seen.push_back(token);
        ++counts[token];
    }
    r.sampling.frequency_penalty = r.sampling.presence_penalty = 0;
    r.sampling.repetition_penalty = 4;
    r.prompt.clear();
    for (TokenId t = 0; t < 90; ++t) r.prompt.push_back(t);
    std::vector<float> logits = logits_after(r.prompt);
    for (TokenId t = 0; t < 90; ++t) {
        float& l = logits[static_cast<size_t>(t)];
        l = l > 0 ? l / 4 : l * 4;
    }
    EXPECT_EQ(ask(engine, r).tokens()[0], std::max_element(logits.begin(), logits.end()) - logits.begin());
}

TEST(ModelExecutor, LogitsThatAreNotNumbersEndTheirRequestAlone) {
    const std::vector<Request> healthy = mixed_requests(2, 15);
    Engine quiet(executor({.pages = 400, .max_sequences = 16}), {});
    Engine engine(executor({.pages = 400, .max_sequences = 16}), {});
    std::vector<std::unique_ptr<RequestStream>> streams;
    for (const Request& r : healthy) streams.push_back(std::move(*engine.submit(r)));
    auto poisoned = engine.submit(request({4, kPoison, 4}, 20));
    Request with_logprobs = request({4, kPoison, 4}, 20);
    with_logprobs.sampling.prompt_logprobs = 2;
    auto poisoned_prompt = engine.submit(with_logprobs);
    for (size_t i = 0; i < healthy.size(); ++i) expect_same(read_all(*streams[i]), ask(quiet, healthy[i]));
    for (auto* stream : {&poisoned, &poisoned_prompt}) {
        const Answer hurt = read_all(***stream);
        ASSERT_EQ(hurt.events.size(), 1u);
        EXPECT_EQ(hurt.events[0].finish, FinishReason::numerical_error);
        EXPECT_EQ(hurt.events[0].token, -1);
    }
}

TEST(ModelExecutor, ProfileNamesEveryOperationAndGivesTheSameResult) {
    auto subject = executor({.pages = 60, .max_sequences = 4});
    const std::vector<TokenId> prompt{1, 2, 3, 4, 5};
    const std::vector<int32_t> pages{7, 9};
    SamplingParams sampling;
    sampling.temperature = 0;
    StepPlan plan;
    plan.rows.push_back(
        {.sequence = 1, .tokens = prompt, .pages = pages, .sample = true, .sampling = &sampling, .prompt = prompt});
    plan.tokens = 5;
    plan.logit_rows = 1;
    std::vector<RowResult> results(1), profiled(1);
    subject->run(plan, results);
    const ops::Program program = subject->profile(plan, profiled);
    ASSERT_EQ(program.steps.size(), 1u);
    EXPECT_EQ(program.steps[0].op, "sample");
    EXPECT_EQ(program.steps[0].row, "simd");
    EXPECT_GT(program.steps[0].microseconds, 0);
    EXPECT_EQ(results[0].token, profiled[0].token);
}

TEST(ModelExecutor, DraftsBehindAStepForTheRowsThatSampled) {
    const StepOptions options{.pages = 20, .max_sequences = 3, .max_step_tokens = 8};
    auto made = ModelExecutor::create(std::make_unique<PageModel>(true), device::cpu_device(), nullptr, options);
    ASSERT_TRUE(made) << made.error().message;
    const std::vector<TokenId> first{3, 1, 4}, second{2, 7};
    const std::vector<int32_t> pages{7}, others{9};
    SamplingParams sampling;
    sampling.temperature = 0;
    StepPlan plan;
    plan.rows.push_back({.tokens = first, .pages = pages, .sampling = &sampling, .prompt = first});
    plan.rows.push_back(
        {.tokens = second, .pages = others, .slot = 1, .sample = true, .sampling = &sampling, .prompt = second});
    plan.tokens = 5;
    plan.logit_rows = 1;
    std::vector<RowResult> results(2);
    (*made)->run(plan, results);
    const std::vector<TokenId> following{1, 5};
    std::vector<TokenId> drafted(2);
    (*made)->draft(plan, following, drafted);
    EXPECT_EQ(drafted, (std::vector<TokenId>{-1, (7 + 1 + 5) % kVocab}));
    // Asked for, a draft costs what lies between the step and it.
    EXPECT_EQ(ModelExecutor::measure(PageModel(true), device::cpu_device(), options).hidden_bytes, 8 * 2 * 4);
    EXPECT_EQ(ModelExecutor::measure(PageModel(), device::cpu_device(), options).hidden_bytes, 0);
}

TEST(ModelExecutor, MeasuresWhatItAllocates) {
    const PageModel model;
    const StepOptions options{.pages = 60, .max_sequences = 4, .max_step_tokens = 100, .max_logit_rows = 10};
    const StepMemory memory = ModelExecutor::measure(model, device::cpu_device(), options);
    EXPECT_EQ(memory.state_bytes, 60 * 4 * 2 * 4);
    EXPECT_EQ(memory.logit_bytes, 10 * kVocab * 4);
    EXPECT_GE(memory.activation_bytes, 100 * 64 * 4);
    EXPECT_GT(memory.staging_bytes, 0);
    EXPECT_EQ(executor(options)->limits().max_context, 200);
    EXPECT_EQ(executor({.pages = 10})->limits().max_context, 41);
    EXPECT_EQ(executor(options)->limits().max_logit_rows, 10);
}

TEST(ModelExecutor, GraphsArePlannedForTheStepsThatThereCanBeAndNoMoreThanAreKept) {
    const PageModel model;  // with a context of 200: one bound
    const auto bytes = [&](int64_t sequences) {
        return ModelExecutor::graph_bytes(model.spec(), {.pages = 4000, .max_sequences = sequences}, 9);
    };
    const int64_t one = bytes(1) / 2;  // with its row of logits, or without
    EXPECT_GT(one, (9 + 1) * 10'000);
    EXPECT_EQ(bytes(2), (2 + 3) * one);
    EXPECT_EQ(bytes(64), 64 * one);
    EXPECT_EQ(bytes(1024), 64 * one);
}

TEST(ModelExecutor, ManyEntriesAreSampledInSeveralCalls) {
    // 70 sequences with a bias (of nothing) for every token: more than the entries of one call.
    Request r = request({1, 2, 3}, 2);
    Engine engine(executor({.pages = 400, .max_sequences = 70}), {});
    const std::vector<TokenId> alone = ask(engine, r).tokens();
    for (TokenId t = 0; t < kVocab; ++t) r.sampling.logit_bias.push_back({t, 0.0f});
    std::vector<std::unique_ptr<RequestStream>> streams;
    for (int i = 0; i < 70; ++i) streams.push_back(std::move(*engine.submit(r)));
    for (auto& stream : streams) EXPECT_EQ(read_all(*stream).tokens(), alone);
}

TEST(ModelExecutor, ModelThatNeedsPagesAndGetsNoneDoesNotFit) {
    auto made = ModelExecutor::create(std::make_unique<PageModel>(), device::cpu_device(), nullptr, {.pages = 0});
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, ErrorCode::does_not_fit);
}

TEST(TokenCounts, CountOutputAndListThePromptWhenAsked) {
    TokenCounts counts;
    const std::vector<TokenId> prompt{5, 6, 5}, output{6, 7, 6};
    const auto value = [&](std::span<const ops::SampleEntry> entries, TokenId token) {
        for (const auto& e : entries)
            if (e.token == token) return e.value;
        return -1.0f;
    };
    auto entries = counts.of(1, prompt, std::span(output).first(1), true);
    EXPECT_EQ(entries.size(), 2u);
    EXPECT_EQ(value(entries, 5), 0);
    EXPECT_EQ(value(entries, 6), 1);
    entries = counts.of(1, prompt, output, true);
    EXPECT_EQ(entries.size(), 3u);
    EXPECT_EQ(value(entries, 6), 2);
    entries = counts.of(2, prompt, output, false);
    EXPECT_EQ(entries.size(), 2u);
    EXPECT_EQ(value(entries, 5), -1);
}

}  // namespace
}  // namespace nibble::engine
