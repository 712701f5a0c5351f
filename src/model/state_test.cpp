#include "model/state.h"

#include <gtest/gtest.h>

#include <set>

namespace nibble::model {
namespace {

using device::DType;

StateShape nano_shape() {  // of Nemotron 3 Nano
    StateShape shape;
    shape.attention.assign(6, {.kv_heads = 2, .head_dim = 128});
    shape.recurrent.assign(23,
                           {.conv_channels = 6144, .conv_columns = 3, .heads = 64, .head_dim = 64, .state_size = 128});
    return shape;
}

TEST(StateShape, HasThePublishedSizes) {
    StateShape shape = nano_shape();
    EXPECT_EQ(shape.page_bytes(), 6144 * 16);
    EXPECT_EQ(shape.slot_bytes(), 23 * ((int64_t{2} << 20) + 36864));
    shape.kv_dtype = DType::f8_e4m3;
    EXPECT_EQ(shape.page_bytes(), 3072 * 16);
}

TEST(State, GivesEveryLayerMemoryOfItsOwn) {
    StateShape shape;
    shape.attention = {{.kv_heads = 1, .head_dim = 3}, {.kv_heads = 2, .head_dim = 5}};
    shape.recurrent = {{.conv_channels = 7, .conv_columns = 1, .heads = 3, .head_dim = 1, .state_size = 5}};
    shape.page_size = 2;
    auto state = State::allocate(device::cpu_device(), shape, 3, 2);
    ASSERT_TRUE(state) << state.error().message;
    std::set<std::pair<std::byte*, std::byte*>> ranges;
    for (const device::Tensor& t : {state->k_pages(0), state->v_pages(0), state->k_pages(1), state->v_pages(1),
                                    state->conv_state(0), state->ssm_state(0)}) {
        auto* begin = static_cast<std::byte*>(t.data());
        ASSERT_NE(begin, nullptr);
        ranges.insert({begin, begin + t.bytes()});
        for (int64_t i = 0; i < t.bytes(); ++i) EXPECT_EQ(begin[i], std::byte{0});
    }
    ASSERT_EQ(ranges.size(), 6u);
    for (auto a = ranges.begin(), b = std::next(a); b != ranges.end(); ++a, ++b) EXPECT_LE(a->second, b->first);
    EXPECT_EQ(state->k_pages(1).dim(0), 3);
    EXPECT_EQ(state->k_pages(1).dim(3), 5);
    EXPECT_EQ(state->ssm_state(0).dim(0), 2);
}

TEST(State, ThatDoesNotFitSaysWhatItWouldHold) {
    for (const int64_t pages : {int64_t{1} << 40, INT64_MAX}) {
        auto state = State::allocate(device::cpu_device(), nano_shape(), pages, 64);
        ASSERT_FALSE(state);
        EXPECT_EQ(state.error().code, ErrorCode::does_not_fit);
        EXPECT_NE(state.error().message.find(fmt::format("{} pages of 16 tokens, 96.0 KiB each", pages)),
                  std::string::npos)
            << state.error().message;
        EXPECT_NE(state.error().message.find("64 slots of recurrent state"), std::string::npos);
    }
}

TEST(State, ThatIsDescribedHasShapesAndNoMemory) {
    const State state = State::describe(nano_shape(), int64_t{1} << 30, 4);
    EXPECT_EQ(state.k_pages(5).data(), nullptr);
    EXPECT_EQ(state.k_pages(5).dim(0), int64_t{1} << 30);
    EXPECT_EQ(state.conv_state(22).dim(1), 6144);
}

}  // namespace
}  // namespace nibble::model
