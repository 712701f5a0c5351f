// Two published models side by side.
#include "cli/audit_comparison.h"
#include "cli/audit_svg.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace nibble::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

const std::string kModels = std::string(NIBBLE_SOURCE_DIR) + "/models/NVIDIA-Nemotron-3";

class Comparison : public testing::Test {
protected:
    Comparison() {
        request_.devices.push_back(*find_audit_device("gb10", std::nullopt));
        nano_ = *audit_model(kModels + "-Nano-30B-A3B-NVFP4", request_);
        lightning_ = *audit_model(kModels + ".5-Lightning-30B-A3B-NVFP4", request_);
        full_ = *audit_model(kModels + "-Nano-30B-A3B-BF16", request_);
    }
    AuditRequest request_{.batches = {1}, .contexts = {1}};
    ModelAudit nano_, lightning_, full_;
};

TEST_F(Comparison, DifferencesAddUpAndTheLargestComesFirst) {
    for (const ModelAudit* other : {&lightning_, &full_, &nano_}) {
        const auto parts = compare(nano_, *other);
        double sum = 0;
        for (size_t i = 0; i < parts.size(); ++i) {
            sum += parts[i].difference();
            if (i > 0) {
                EXPECT_GE(std::abs(parts[i - 1].difference()), std::abs(parts[i].difference()));
            }
        }
        EXPECT_NEAR(sum, other->first().bytes_per_token() - nano_.first().bytes_per_token(), 1);
    }
}

TEST_F(Comparison, TellsTheHeadAsTheReason) {
    const auto parts = compare(nano_, lightning_);
    EXPECT_EQ(parts.front().name, "head");
    EXPECT_NEAR(parts.front().difference() / 1e6, -507, 1.5);
    EXPECT_NEAR(parts.front().by_values(), 0, 1);
    EXPECT_NEAR(parts.front().a.bits(), 16, 0.01);
    EXPECT_NEAR(parts.front().b.bits(), 4.5, 0.01);
    const std::string text = describe_comparison(nano_, lightning_, request_.devices.front());
    EXPECT_THAT(text, AllOf(HasSubstr("A is slower by 15 %"), HasSubstr("head: 506 MB less: 16.0 -> 4.5 bits each")));
    EXPECT_THAT(describe_comparison(nano_, nano_, request_.devices.front()), HasSubstr("Both tokens cost the same"));
}

TEST_F(Comparison, ThePictureHasABarForEachModelOrStep) {
    const std::string one = audit_svg(nano_, nullptr, request_.devices.front());
    EXPECT_THAT(one, AllOf(HasSubstr("as it is"), HasSubstr("then head BF16 → NVFP4"), HasSubstr(">80 tokens/s<"),
                           HasSubstr(">123 tokens/s<"), HasSubstr("routed experts: 775 MB")));
    const std::string two = audit_svg(nano_, &lightning_, request_.devices.front());
    EXPECT_THAT(two, AllOf(HasSubstr(lightning_.name), HasSubstr(">95 tokens/s<"), Not(HasSubstr("then"))));
}

}  // namespace
}  // namespace nibble::cli
