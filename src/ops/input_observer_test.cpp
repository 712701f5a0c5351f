// What an observer is shown is what the matrix is multiplied with, and nothing where nothing runs.
#include "ops/input_observer.h"

#include "numeric/bf16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

namespace nibble::ops {
namespace {

class Recorder final : public InputObserver {
public:
    void see(std::string_view module, std::span<const float> x) override {
        names.emplace_back(module);
        rows.emplace_back(x.begin(), x.end());
    }
    std::vector<std::string> names;
    std::vector<std::vector<float>> rows;
};

TEST(InputObserver, SeesRowsAsTheMatrixReadsThem) {
    const device::Device cpu = *device::find_device("cpu");
    OpContext context{.device = &cpu};
    std::vector<numeric::bf16> x;
    for (const float value : {1.0f, 2.0f, -2.0f, 4.0f, 0.0f, 3.0f}) x.push_back(numeric::bf16::from_float(value));
    std::vector<float> weight = {2.0f, 1.0f, 0.5f};
    const Tensor rows(x.data(), DType::bf16, {2, 3}), norm(weight.data(), DType::f32, {3});
    Recorder recorder;
    observe_input(context, "a", rows, {}, 0);
    EXPECT_TRUE(recorder.rows.empty());
    context.observer = &recorder;
    observe_input(context, "b", rows, {}, 0);
    observe_input(context, "c", rows, norm, 0);
    OpContext recording = context;
    recording.mode = Mode::record;
    observe_input(recording, "d", Tensor(nullptr, DType::bf16, {2, 3}), {}, 0);
    ASSERT_EQ(recorder.names, (std::vector<std::string>{"b", "b", "c", "c"}));
    EXPECT_EQ(recorder.rows[1], (std::vector<float>{4, 0, 3}));
    const float scale = 1 / std::sqrt((1.0f + 4 + 4) / 3);
    for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(recorder.rows[2][i], recorder.rows[0][i] * scale * weight[i], 1e-6);
}

}  // namespace
}  // namespace nibble::ops
