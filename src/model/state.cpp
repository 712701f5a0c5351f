#include "model/state.h"

#include "base/bytes.h"
#include "base/check.h"

namespace nibble::model {
namespace {

constexpr int64_t kAlign = 256;

int64_t kv_page_bytes(const StateShape& shape, const AttentionShape& layer) {  // keys alone, or values alone
    return shape.page_size * layer.kv_heads * layer.head_dim * numeric::size_bytes(shape.kv_dtype);
}
int64_t conv_slot_bytes(const StateShape& shape, const RecurrentShape& layer) {
    return layer.conv_channels * layer.conv_columns * numeric::size_bytes(shape.conv_dtype);
}
int64_t ssm_slot_bytes(const RecurrentShape& layer) {
    return layer.heads * layer.head_dim * layer.state_size * numeric::size_bytes(device::DType::f32);
}

}  // namespace

int64_t StateShape::page_bytes() const {
    int64_t bytes = 0;
    for (const AttentionShape& layer : attention) bytes += 2 * kv_page_bytes(*this, layer);
    return bytes;
}

int64_t StateShape::slot_bytes() const {
    int64_t bytes = 0;
    for (const RecurrentShape& layer : recurrent) bytes += conv_slot_bytes(*this, layer) + ssm_slot_bytes(layer);
    return bytes;
}

State::State(const StateShape& shape, int64_t pages, int64_t slots) : shape_(shape), pages_(pages), slots_(slots) {
    const auto place = [this](int64_t bytes) {
        const int64_t offset = bytes_;
        bytes_ += (bytes + kAlign - 1) / kAlign * kAlign;
        return offset;
    };
    for (const AttentionShape& layer : shape.attention) {
        const int64_t bytes = pages * kv_page_bytes(shape, layer);
        attention_.push_back({.first = place(bytes), .second = place(bytes)});
    }
    for (const RecurrentShape& layer : shape.recurrent)
        recurrent_.push_back(
            {.first = place(slots * conv_slot_bytes(shape, layer)), .second = place(slots * ssm_slot_bytes(layer))});
}

State State::describe(const StateShape& shape, int64_t pages, int64_t slots) {
    return State(shape, pages, slots);
}

Result<State> State::allocate(const device::Device& device, const StateShape& shape, int64_t pages, int64_t slots) {
    CHECK(pages >= 0 && slots >= 0);
    constexpr int64_t kMost = int64_t{1} << 56;  // beyond any memory, and no sum of these overflows
    const int64_t page_bytes = shape.page_bytes(), slot_bytes = shape.slot_bytes();
    const auto too_much = [&](std::string_view why) {
        return error(
            ErrorCode::does_not_fit,
            "the cache does not fit:\n  {} pages of {} tokens, {} each\n  {} slots of recurrent state, {} each\n{}",
            pages, shape.page_size, describe_bytes(static_cast<uint64_t>(page_bytes)), slots,
            describe_bytes(static_cast<uint64_t>(slot_bytes)), why);
    };
    if ((page_bytes > 0 && pages > kMost / page_bytes) || (slot_bytes > 0 && slots > kMost / slot_bytes))
        return too_much("  together more than any memory");
    State state(shape, pages, slots);
    auto buffer = device::Buffer::allocate(device, state.bytes_, "keys, values and recurrent state");
    if (!buffer)
        return buffer.error().code == ErrorCode::does_not_fit ? too_much("  " + buffer.error().message)
                                                              : std::move(buffer).error();
    state.buffer_ = *std::move(buffer);
    return state;
}

device::Tensor State::view(int64_t offset, device::DType dtype, std::initializer_list<int64_t> extents) const {
    if (buffer_.data() == nullptr) return device::Tensor(nullptr, dtype, extents);
    return buffer_.tensor(offset, dtype, extents);
}

device::Tensor State::k_pages(int layer) const {
    const AttentionShape& s = shape_.attention[layer];
    return view(attention_[layer].first, shape_.kv_dtype, {pages_, shape_.page_size, s.kv_heads, s.head_dim});
}

device::Tensor State::v_pages(int layer) const {
    const AttentionShape& s = shape_.attention[layer];
    return view(attention_[layer].second, shape_.kv_dtype, {pages_, shape_.page_size, s.kv_heads, s.head_dim});
}

device::Tensor State::conv_state(int layer) const {
    const RecurrentShape& s = shape_.recurrent[layer];
    return view(recurrent_[layer].first, shape_.conv_dtype, {slots_, s.conv_channels, s.conv_columns});
}

device::Tensor State::ssm_state(int layer) const {
    const RecurrentShape& s = shape_.recurrent[layer];
    return view(recurrent_[layer].second, device::DType::f32, {slots_, s.heads, s.head_dim, s.state_size});
}

}  // namespace nibble::model
