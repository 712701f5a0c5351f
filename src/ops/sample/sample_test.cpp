#include "ops/sample/sample.h"

#include "ops/sample/sample_weight.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <vector>

namespace nibble::ops {
namespace {

constexpr float kNoMinZ = -std::numeric_limits<float>::infinity();

// One row of a test: parameters as a request has them.
struct Wish {
    float temperature = 1, top_p = 1, min_p = 0;
    int top_k = 0;
    float repetition = 1, presence = 0, frequency = 0;
    std::vector<SampleEntry> bias, counted, masked;
    uint64_t seed = 1;
    int64_t position = 0;
    int given = -1, top = -1;
};

struct Outcome {
    int32_t token = -2, rank = -2;
    float logprob = 0;
    std::vector<int32_t> top_token;
    std::vector<float> top_logprob;
    bool operator==(const Outcome&) const = default;
};

constexpr int kTop = 20;

std::vector<Outcome> run(const char* row_name, std::vector<std::vector<float>> logits, const std::vector<Wish>& wishes,
                         ThreadPool* threads = nullptr) {
    const int64_t count = static_cast<int64_t>(logits.size()), vocab = static_cast<int64_t>(logits[0].size());
    std::vector<float> flat;
    for (const auto& l : logits) flat.insert(flat.end(), l.begin(), l.end());
    const std::vector<float> before = flat;
    std::vector<SampleRow> rows;
    std::vector<SampleEntry> entries;
    for (const Wish& w : wishes) {
        rows.push_back({.seed = w.seed,
                        .position = w.position,
                        .inverse_temperature = w.temperature == 0 ? 0 : 1 / w.temperature,
                        .top_p = w.top_p,
                        .min_z = w.min_p == 0 ? kNoMinZ : static_cast<float>(std::log(static_cast<double>(w.min_p))),
                        .top_k = w.top_k,
                        .repetition = w.repetition,
                        .presence = w.presence,
                        .frequency = w.frequency,
                        .given_token = w.given,
                        .top = w.top,
                        .entries_begin = static_cast<int32_t>(entries.size()),
                        .bias_entries = static_cast<int32_t>(w.bias.size()),
                        .counted_entries = static_cast<int32_t>(w.counted.size()),
                        .masked_entries = static_cast<int32_t>(w.masked.size())});
        for (const auto* list : {&w.bias, &w.counted, &w.masked})
            entries.insert(entries.end(), list->begin(), list->end());
    }
    std::vector<int32_t> token(count, -2), rank(count, -2), top_token(count * kTop, -2);
    std::vector<float> logprob(count, 0), top_logprob(count * kTop, 0);
    const device::Device device = device::cpu_device();
    auto memory = device::Buffer::allocate(device, int64_t{16} << 20, "test");
    device::Arena arena(std::move(*memory));
    const ForcedRows forced{{"sample", row_name}};
    OpContext context{.device = &device, .threads = threads, .arena = &arena, .forced = &forced};
    sample(context,
           {.logits = Tensor(flat.data(), DType::f32, {count, vocab}),
            .rows = Tensor(rows.data(), DType::u8, {count, int64_t{sizeof(SampleRow)}}),
            .entries = entries.empty() ? Tensor()
                                       : Tensor(entries.data(), DType::u8,
                                                {static_cast<int64_t>(entries.size()), int64_t{sizeof(SampleEntry)}}),
            .token = Tensor(token.data(), DType::i32, {count}),
            .logprob = Tensor(logprob.data(), DType::f32, {count}),
            .rank = Tensor(rank.data(), DType::i32, {count}),
            .top_token = Tensor(top_token.data(), DType::i32, {count, int64_t{kTop}}),
            .top_logprob = Tensor(top_logprob.data(), DType::f32, {count, int64_t{kTop}})});
    EXPECT_EQ(std::memcmp(before.data(), flat.data(), flat.size() * sizeof(float)), 0) << "the logits changed";
    std::vector<Outcome> outcomes;
    for (int64_t r = 0; r < count; ++r) {
        const int64_t top = std::max(wishes[r].top, 0);
        outcomes.push_back({token[r],
                            rank[r],
                            logprob[r],
                            {top_token.begin() + r * kTop, top_token.begin() + r * kTop + top},
                            {top_logprob.begin() + r * kTop, top_logprob.begin() + r * kTop + top}});
    }
    return outcomes;
}

Outcome run_one(const char* row_name, const std::vector<float>& logits, const Wish& wish) {
    return run(row_name, {logits}, {wish})[0];
}

// Both rows of the table; a case that holds for one holds for the other.
class SampleRows : public testing::TestWithParam<const char*> {
protected:
    int32_t token(const std::vector<float>& logits, const Wish& wish) {
        return run_one(GetParam(), logits, wish).token;
    }
};
INSTANTIATE_TEST_SUITE_P(Every, SampleRows, testing::Values("ref", "simd"),
                         [](const auto& info) { return info.param; });

std::vector<float> random_logits(std::mt19937_64& random, int64_t vocab) {
    std::vector<float> logits(vocab);
    switch (random() % 5) {
        case 0: {  // like a language model
            std::normal_distribution<float> normal(0, 3);
            for (float& l : logits) l = normal(random);
            logits[random() % vocab] += 8;
            break;
        }
        case 1:  // many ties, both zeros
            for (float& l : logits) l = static_cast<float>(static_cast<int>(random() % 5)) * 0.5f - 1.0f;
            for (float& l : logits)
                if (l == 0 && random() % 2) l = -0.0f;
            break;
        case 2:  // flat
            std::fill(logits.begin(), logits.end(), -1.25f);
            break;
        case 3:  // any finite float
            for (float& l : logits) {
                do l = std::bit_cast<float>(static_cast<uint32_t>(random()));
                while (!std::isfinite(l));
            }
            break;
        default: {
            std::uniform_real_distribution<float> uniform(-40, 0);
            for (float& l : logits) l = uniform(random);
        }
    }
    return logits;
}

std::vector<SampleEntry> random_entries(std::mt19937_64& random, int64_t vocab, int kind) {
    std::vector<SampleEntry> entries;
    if (random() % 2) return entries;
    const int64_t step = 1 + static_cast<int64_t>(random() % vocab);
    for (int64_t t = static_cast<int64_t>(random() % step); t < vocab && entries.size() < 300; t += step)
        entries.push_back({static_cast<int32_t>(t), kind == 0
                                                        ? static_cast<float>(static_cast<int>(random() % 201) - 100)
                                                        : static_cast<float>(random() % 4)});
    return entries;
}

Wish random_wish(std::mt19937_64& random, int64_t vocab) {
    const float temperatures[] = {0, 0.00001f, 0.1f, 0.7f, 1, 1.5f, 100, 1e6f};
    const float top_ps[] = {1, 1, 0.999999f, 0.95f, 0.5f, 0.1f, 1e-9f};
    const float min_ps[] = {0, 0, 0.05f, 0.5f, 1};
    const float repetitions[] = {1, 1.1f, 0.8f, 1e-30f, 1e30f};
    Wish wish;
    wish.temperature = temperatures[random() % 8];
    wish.top_p = top_ps[random() % 7];
    wish.min_p = min_ps[random() % 5];
    if (random() % 2) wish.top_k = 1 + static_cast<int>(random() % (random() % 2 ? 50 : vocab + 2));
    wish.repetition = repetitions[random() % 5];
    wish.presence = static_cast<float>(random() % 5) - 2;
    wish.frequency = (static_cast<float>(random() % 9) - 4) / 2;
    wish.bias = random_entries(random, vocab, 0);
    wish.counted = random_entries(random, vocab, 1);
    wish.masked = random_entries(random, vocab, 2);
    wish.seed = random();
    wish.position = static_cast<int64_t>(random() % 100000);
    if (random() % 4 == 0) wish.given = static_cast<int>(random() % vocab);
    if (random() % 2) wish.top = static_cast<int>(random() % (std::min<int64_t>(vocab, kTop) + 1));
    return wish;
}

void expect_same(const Outcome& a, const Outcome& b, int64_t vocab, int round) {
    EXPECT_EQ(a.token, b.token) << "V=" << vocab << " round " << round;
    EXPECT_EQ(a.rank, b.rank) << "V=" << vocab << " round " << round;
    EXPECT_EQ(a.logprob, b.logprob) << "V=" << vocab << " round " << round;
    EXPECT_EQ(a.top_token, b.top_token) << "V=" << vocab << " round " << round;
    EXPECT_EQ(a.top_logprob, b.top_logprob) << "V=" << vocab << " round " << round;
}

TEST(Sample, VectorRowEqualsTheOracleBitForBitOnEveryTargetOfThisMachine) {
    for (int64_t target : hwy::SupportedAndGeneratedTargets()) {
        SCOPED_TRACE(hwy::TargetName(target));
        hwy::SetSupportedTargetsForTest(target);
        std::mt19937_64 random(7);
        for (int round = 0; round < 600 && !testing::Test::HasFailure(); ++round) {
            const int64_t vocabs[] = {1, 2, 7, 33, 255, 256, 257, 1000, 3000};
            const int64_t vocab = vocabs[random() % 9];
            const std::vector<float> logits = random_logits(random, vocab);
            const Wish wish = random_wish(random, vocab);
            expect_same(run_one("simd", logits, wish), run_one("ref", logits, wish), vocab, round);
        }
    }
    hwy::SetSupportedTargetsForTest(0);
}

TEST(Sample, VectorRowEqualsTheOracleOnALargeVocabulary) {
    std::mt19937_64 random(11);
    for (int round = 0; round < 12 && !testing::Test::HasFailure(); ++round) {
        const int64_t vocab = 131072 + static_cast<int64_t>(random() % 131073);
        const std::vector<float> logits = random_logits(random, vocab);
        const Wish wish = random_wish(random, vocab);
        expect_same(run_one("simd", logits, wish), run_one("ref", logits, wish), vocab, round);
    }
}

TEST(Sample, RowDependsOnItselfAloneWhateverTheBatchAndTheThreads) {
    std::mt19937_64 random(3);
    ThreadPool threads(3, false);
    std::vector<std::vector<float>> logits;
    std::vector<Wish> wishes;
    for (int r = 0; r < 40; ++r) {
        logits.push_back(random_logits(random, 777));
        wishes.push_back(random_wish(random, 777));
    }
    const auto together = run("simd", logits, wishes, &threads);
    for (int r = 0; r < 40; ++r) EXPECT_EQ(together[r], run_one("simd", logits[r], wishes[r])) << "row " << r;
}

TEST_P(SampleRows, GreedyTakesTheLargestAndTheLowestIdAmongEquals) {
    std::vector<float> logits(1000, -1.0f);
    logits[612] = logits[300] = logits[999] = 4.0f;
    EXPECT_EQ(token(logits, {.temperature = 0}), 300);
    std::fill(logits.begin(), logits.end(), -0.0f);
    logits[5] = 0.0f;
    EXPECT_EQ(token(logits, {.temperature = 0}), 0);
}

// transformers: score < 0 ? score · p : score / p, once a token of prompt or output. OpenAI: minus count · frequency
// minus presence for tokens of the output. The numbers are worked out by hand.
TEST_P(SampleRows, PenaltiesFollowTheirFormulas) {
    //                                0     1     2     3     4
    const std::vector<float> logits{3.0f, 2.9f, 2.5f, -1.0f, 2.0f};
    Wish wish{.temperature = 0};
    wish.repetition = 1.5f;  // 0 was seen: 3.0 / 1.5 = 2.0; 3: -1.5
    wish.counted = {{0, 0}, {3, 0}};
    EXPECT_EQ(token(logits, wish), 1);
    wish.counted = {{0, 0}, {1, 0}, {2, 0}};  // 2.0, 1.933, 1.667, -1, 2.0: the tie goes to id 0
    EXPECT_EQ(token(logits, wish), 0);
    wish.repetition = 1.0f, wish.frequency = 0.5f;  // 3.0 - 2 · 0.5 = 2.0; 2.9 - 0.5 = 2.4
    wish.counted = {{0, 2}, {1, 1}};
    EXPECT_EQ(token(logits, wish), 2);
    wish.frequency = 0, wish.presence = 0.2f;  // 2.8, 2.7: a token of the prompt alone (count 0) keeps its 2.9
    wish.counted = {{0, 2}, {1, 0}};
    EXPECT_EQ(token(logits, wish), 1);
    wish.presence = -2.0f;
    wish.counted = {{4, 1}};  // 4.0
    EXPECT_EQ(token(logits, wish), 4);
}

TEST_P(SampleRows, PenaltiesComeAfterTheBiasAndBeforeTheMask) {
    const std::vector<float> logits{1.0f, 0.9f, 0.5f};
    Wish wish{.temperature = 0, .repetition = 2.0f};
    wish.bias = {{2, 1.0f}};  // 1.5
    wish.counted = {{2, 0}};  // 0.75: penalised before the bias it would be 1.25
    EXPECT_EQ(token(logits, wish), 0);
    wish.bias = {{2, 100.0f}};
    wish.masked = {{2, 0}, {0, 0}};
    EXPECT_EQ(token(logits, wish), 1);
}

TEST_P(SampleRows, MaskedTokensAreNeverDrawnUnlessNothingElseIsLeft) {
    const std::vector<float> logits{5.0f, 1.0f, 5.0f, 0.5f};
    for (uint64_t seed = 0; seed < 200; ++seed) {
        const int32_t drawn = token(logits, {.temperature = 3, .masked = {{0, 0}, {2, 0}}, .seed = seed});
        EXPECT_TRUE(drawn == 1 || drawn == 3) << drawn;
    }
    EXPECT_EQ(token(logits, {.masked = {{0, 0}, {1, 0}, {2, 0}, {3, 0}}}), 0);
}

TEST_P(SampleRows, TopKOfOneAndTinyTopPAreGreedy) {
    std::vector<float> logits(500, 0.0f);
    logits[123] = 0.001f;
    for (uint64_t seed = 0; seed < 50; ++seed) {
        EXPECT_EQ(token(logits, {.top_k = 1, .seed = seed}), 123);
        EXPECT_EQ(token(logits, {.top_p = 1e-9f, .seed = seed}), 123);
        EXPECT_EQ(token(logits, {.min_p = 1.0f, .seed = seed}), 123);
    }
}

TEST_P(SampleRows, TiesAtTheCutGoToTheLowestIds) {
    std::vector<float> logits(10, 1.0f);
    logits[7] = 2.0f;
    std::vector<int> seen(10, 0);
    for (uint64_t seed = 0; seed < 300; ++seed) ++seen[token(logits, {.temperature = 10, .top_k = 3, .seed = seed})];
    for (int i = 0; i < 10; ++i) EXPECT_EQ(seen[i] > 0, i == 0 || i == 1 || i == 7) << i;
    std::fill(logits.begin(), logits.end(), 1.0f);  // ten of 0.1 each: 0.45 is reached by five
    std::fill(seen.begin(), seen.end(), 0);
    for (uint64_t seed = 0; seed < 300; ++seed) ++seen[token(logits, {.top_p = 0.45f, .seed = seed})];
    for (int i = 0; i < 10; ++i) EXPECT_EQ(seen[i] > 0, i < 5) << i;
}

// Pearson's statistic over `draws` draws; `expected` sums to 1.
double chi_square(const std::vector<int>& seen, const std::vector<double>& expected, int draws) {
    double sum = 0;
    for (size_t i = 0; i < seen.size(); ++i) {
        if (expected[i] == 0) {
            EXPECT_EQ(seen[i], 0) << i;
            continue;
        }
        const double e = expected[i] * draws;
        sum += (seen[i] - e) * (seen[i] - e) / e;
    }
    return sum;
}

// 99.9 % of chi-square with 11, 7 and 4 degrees of freedom; seeds are fixed, so the verdict is too.
TEST(Sample, DrawsFollowTheDistribution) {
    std::vector<float> logits{0.1f, 2.0f, -1.0f, 0.7f, 1.9f, -0.3f, 0.0f, 1.2f, -2.0f, 0.4f, 1.5f, -0.6f};
    const auto softmax = [&](float temperature, const std::vector<int>& ids) {
        std::vector<double> p(logits.size(), 0);
        double sum = 0;
        for (int id : ids) sum += p[id] = std::exp(logits[id] / temperature);
        for (double& v : p) v /= sum;
        return p;
    };
    constexpr int kDraws = 20000;
    const auto histogram = [&](Wish wish) {
        std::vector<std::vector<float>> rows(100, logits);
        std::vector<int> seen(logits.size(), 0);
        for (int i = 0; i < kDraws; i += 100) {
            std::vector<Wish> wishes;
            for (int j = 0; j < 100; ++j) {
                wish.position = i + j;
                wishes.push_back(wish);
            }
            for (const Outcome& o : run("simd", rows, wishes)) ++seen[o.token];
        }
        return seen;
    };
    const std::vector<int> all{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    EXPECT_LT(chi_square(histogram({}), softmax(1, all), kDraws), 31.26);
    EXPECT_LT(chi_square(histogram({.temperature = 0.6f}), softmax(0.6f, all), kDraws), 31.26);
    EXPECT_LT(chi_square(histogram({.seed = 99}), softmax(1, all), kDraws), 31.26);
    EXPECT_LT(chi_square(histogram({.top_k = 5}), softmax(1, {1, 4, 10, 7, 3}), kDraws), 18.47);
    // In order: 1 .256, 4 .232, 10 .155, 7 .115, 3 .070, 9 .052 (.880 reached), 0 .038 (.918)
    EXPECT_LT(chi_square(histogram({.top_p = 0.85f}), softmax(1, {1, 4, 10, 7, 3, 9}), kDraws), 24.32);
    // exp(-1.2) = .301: within 1.2 of the largest
    EXPECT_LT(chi_square(histogram({.min_p = 0.3f}), softmax(1, {1, 4, 10, 7}), kDraws), 18.47);
}

TEST(Sample, SeedAndPositionEachChangeTheDraw) {
    const std::vector<float> logits(1000, 0.0f);
    int same_position = 0, same_seed = 0;
    for (uint64_t i = 0; i < 100; ++i) {
        const int32_t drawn = run_one("simd", logits, {.seed = i, .position = 5}).token;
        same_position += drawn == run_one("simd", logits, {.seed = i + 1, .position = 5}).token;
        same_seed += drawn == run_one("simd", logits, {.seed = i, .position = 6}).token;
    }
    EXPECT_LT(same_position, 4);
    EXPECT_LT(same_seed, 4);
}

TEST_P(SampleRows, LogprobsAreTheLogSoftmaxOfTheRawLogits) {
    std::mt19937_64 random(5);
    std::normal_distribution<float> normal(0, 4);
    std::vector<float> logits(50000);
    for (float& l : logits) l = normal(random);
    double sum = 0;
    for (float l : logits) sum += std::exp(static_cast<double>(l));
    Wish wish{.temperature = 0.5f, .repetition = 3.0f, .top = kTop};
    wish.bias = {{17, 50.0f}};  // makes 17 the token; its reported logprob is the raw one
    const Outcome outcome = run_one(GetParam(), logits, wish);
    EXPECT_EQ(outcome.token, 17);
    EXPECT_NEAR(outcome.logprob, logits[17] - std::log(sum), 2e-6);
    int rank = 1;
    for (float l : logits) rank += l > logits[17];
    EXPECT_EQ(outcome.rank, rank);
    for (int i = 0; i < kTop; ++i) {
        EXPECT_NEAR(outcome.top_logprob[i], logits[outcome.top_token[i]] - std::log(sum), 2e-6);
        if (i > 0) {
            EXPECT_GE(outcome.top_logprob[i - 1], outcome.top_logprob[i]);
        }
        EXPECT_EQ(run_one(GetParam(), logits, {.given = outcome.top_token[i], .top = 0}).rank, i + 1);
    }
}

TEST_P(SampleRows, LogitThatIsNotFiniteStopsItsOwnRowAlone) {
    std::mt19937_64 random(9);
    const float bad[] = {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN(),
                         std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                         std::bit_cast<float>(0x7f800001u)};
    for (int round = 0; round < 200; ++round) {
        std::vector<std::vector<float>> logits;
        std::vector<Wish> wishes;
        for (int r = 0; r < 3; ++r) {
            logits.push_back(random_logits(random, 300));
            wishes.push_back(random_wish(random, 300));
        }
        const auto healthy = run(GetParam(), logits, wishes);
        logits[1][random() % 300] = bad[round % 5];
        const auto hurt = run(GetParam(), logits, wishes);
        EXPECT_EQ(hurt[0], healthy[0]);
        EXPECT_EQ(hurt[1].token, -1);
        EXPECT_EQ(hurt[2], healthy[2]);
    }
}

TEST(SampleWeight, IsTheExponentialWithinTheStatedError) {
    for (int i = 0; i <= 320000; ++i) {
        const float z = -32.0f * static_cast<float>(i) / 320000.0f;
        const double exact = std::exp(static_cast<double>(z)) * weight::kScale;
        ASSERT_LE(std::abs(static_cast<double>(sample_weight(z)) - exact), 0.5 + 2e-7 * exact) << z;
    }
    EXPECT_EQ(sample_weight(0), uint64_t{1} << 44);
    EXPECT_EQ(sample_weight(-0.0f), uint64_t{1} << 44);
    EXPECT_EQ(sample_weight(-33), 0u);
    EXPECT_EQ(sample_weight(-std::numeric_limits<float>::infinity()), 0u);
    EXPECT_EQ(sample_weight(std::numeric_limits<float>::quiet_NaN()), 0u);
}

TEST(SampleWeight, ScaledRandomIsTheHighHalfOfTheProduct) {
    std::mt19937_64 random(1);
    for (int i = 0; i < 100000; ++i) {
        const uint64_t sum = random() >> (random() % 64), u = random();
        EXPECT_EQ(scale_random(sum, u), static_cast<uint64_t>((static_cast<unsigned __int128>(sum) * u) >> 64));
    }
    EXPECT_EQ(scale_random(~0ull, ~0ull), ~0ull - 1);
}

}  // namespace
}  // namespace nibble::ops
