// Perplexity and divergence against sums written out, and the reference file against damage.
#include "cli/divergence.h"

#include "base/temporary_folder.h"
#include "numeric/philox.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <vector>

namespace nibble::cli {
namespace {

std::vector<float> logits(uint64_t seed, size_t count) {
    std::vector<float> row(count);
    for (size_t i = 0; i < count; ++i) row[i] = 8 * numeric::unit_float(numeric::philox(seed, i, 0).word[0]) - 4;
    return row;
}

std::vector<double> probabilities(const std::vector<float>& row) {
    double sum = 0;
    std::vector<double> p;
    for (const float x : row) sum += std::exp(static_cast<double>(x));
    for (const float x : row) p.push_back(std::exp(static_cast<double>(x)) / sum);
    return p;
}

TEST(Divergence, IsTheSumWrittenOut) {
    const auto a = logits(1, 1000), b = logits(2, 1000);
    const auto p = probabilities(a), q = probabilities(b);
    double expected = 0;
    for (size_t i = 0; i < p.size(); ++i) expected += p[i] * std::log(p[i] / q[i]);
    EXPECT_NEAR(divergence(a, score(a), b, score(b)), expected, 1e-5);
    EXPECT_NEAR(divergence(a, score(a), a, score(a)), 0, 1e-12);
    EXPECT_NEAR(score(a).log_sum, static_cast<double>(a[3]) - std::log(p[3]), 1e-5);
}

TEST(Divergence, OfTheLikeliestTokensGrowsToTheWhole) {
    const auto a = logits(3, 500), b = logits(4, 500);
    const double whole = divergence(a, score(a), b, score(b));
    double before = 0;
    for (const int64_t k : {1, 10, 100, 499, 500}) {
        const TopRow top = top_of(a, score(a), k);
        ASSERT_EQ(static_cast<int64_t>(top.token.size()), k);
        EXPECT_EQ(top.token[0], score(a).best);
        const double part = divergence(top, b, score(b));
        EXPECT_GE(part, before - 1e-6) << k;
        EXPECT_LE(part, whole + 1e-5) << k;
        before = part;
    }
    EXPECT_NEAR(before, whole, 1e-5);
}

TEST(Divergence, OfEqualLogitsTheLowestIdIsTheLikeliest) {
    const std::vector<float> row = {1, 3, 3, 2};
    EXPECT_EQ(score(row).best, 1);
    EXPECT_EQ(top_of(row, score(row), 3).token, (std::vector<int32_t>{1, 2, 3}));
}

TEST(Divergence, SummaryIsOfAllValues) {
    const Summary summary = summarize({4, 1, 3, 2});
    EXPECT_EQ(summary.count, 4);
    EXPECT_DOUBLE_EQ(summary.mean, 2.5);
    EXPECT_NEAR(summary.standard_error, std::sqrt(5.0 / 3 / 4), 1e-12);
    EXPECT_EQ(summary.most, 4);
    EXPECT_EQ(summarize({}).count, 0);
}

TEST(Reference, ComesBackAsItWasAndDamageIsNoticed) {
    const TemporaryFolder folder;
    const auto file = folder.path() / "reference";
    ReferenceHead head;
    head.top = 3;
    head.vocab = 50;
    head.rows = 2;
    head.tokens_hash = 99;
    {
        auto writer = ReferenceWriter::create(file, head);
        ASSERT_TRUE(writer.has_value());
        for (const uint64_t seed : {1, 2}) {
            const auto row = logits(seed, 50);
            ASSERT_TRUE(writer->add(top_of(row, score(row), 3), -1.5f).has_value());
        }
        ASSERT_TRUE(writer->finish().has_value());
    }
    const auto reader = ReferenceReader::open(file, head);
    ASSERT_TRUE(reader.has_value()) << reader.error().message;
    const auto row = logits(2, 50);
    const auto found = reader->read(1);
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->top.token, top_of(row, score(row), 3).token);
    EXPECT_EQ(found->own_logprob, -1.5f);

    ReferenceHead other = head;
    other.tokens_hash = 98;
    EXPECT_FALSE(ReferenceReader::open(file, other).has_value());
    other = head;
    other.vocab = 51;
    EXPECT_FALSE(ReferenceReader::open(file, other).has_value());
    std::string bytes;
    {
        std::ifstream in(file, std::ios::binary);
        bytes.assign(std::istreambuf_iterator<char>(in), {});
    }
    const auto damaged = [&](const std::string& as) {
        std::ofstream(file, std::ios::binary).write(as.data(), static_cast<std::streamsize>(as.size()));
        return ReferenceReader::open(file, head);
    };
    EXPECT_FALSE(damaged(bytes.substr(0, bytes.size() - 1)).has_value());
    EXPECT_FALSE(damaged(bytes.substr(0, 10)).has_value());
    EXPECT_FALSE(damaged("").has_value());
    std::string huge = bytes;
    huge.replace(12, 4, "\xff\xff\xff\x7f");
    EXPECT_FALSE(damaged(huge).has_value());
    std::string wild = bytes;
    wild.replace(sizeof head + 4, 4, "\xff\xff\xff\xff");  // a token
    const auto opened = damaged(wild);
    ASSERT_TRUE(opened.has_value());
    EXPECT_FALSE(opened->read(0).has_value());
}

}  // namespace
}  // namespace nibble::cli
