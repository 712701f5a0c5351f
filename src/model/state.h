// State: what a model keeps between steps: pages of keys and values, and slots of recurrent state.
//
// StateShape says how large a page and a slot are (the engine's accounting sees only that); State owns the memory. All
// layers share page and slot numbers: page 7 is page 7 in every attention layer.
#pragma once

#include "base/result.h"
#include "device/buffer.h"
#include "device/device.h"
#include "device/tensor.h"

#include <cstdint>
#include <initializer_list>
#include <vector>

namespace nibble::model {

struct AttentionShape {
    int64_t kv_heads = 0, head_dim = 0;
};
struct RecurrentShape {
    int64_t conv_channels = 0, conv_columns = 0;      // [slots, C, Kc - 1]
    int64_t heads = 0, head_dim = 0, state_size = 0;  // [slots, nh, P, N] f32
};

struct StateShape {
    std::vector<AttentionShape> attention;           // one a layer that attends, in order
    std::vector<RecurrentShape> recurrent;           // one a recurrent layer, in order
    device::DType kv_dtype = device::DType::bf16;    // bf16, f32, f8_e4m3
    device::DType conv_dtype = device::DType::bf16;  // bf16, f32
    int64_t page_size = 16;                          // tokens a page

    int64_t page_bytes() const;  // keys and values of one page over all layers
    int64_t slot_bytes() const;  // one sequence's recurrent state over all layers
};

class State {
public:
    // Errors: does_not_fit, line by line.
    static Result<State> allocate(const device::Device& device, const StateShape& shape, int64_t pages, int64_t slots);
    // Null memory: for recording.
    static State describe(const StateShape& shape, int64_t pages, int64_t slots);

    const StateShape& shape() const { return shape_; }
    int64_t pages() const { return pages_; }
    int64_t slots() const { return slots_; }
    // Layer i of shape().attention: [pages, page_size, Hkv, D].
    device::Tensor k_pages(int layer) const;
    device::Tensor v_pages(int layer) const;
    // Layer i of shape().recurrent.
    device::Tensor conv_state(int layer) const;  // [slots, C, Kc - 1]
    device::Tensor ssm_state(int layer) const;   // [slots, nh, P, N] f32

private:
    struct Offsets {
        int64_t first = 0, second = 0;  // keys and values; convolution and SSM state
    };
    State(const StateShape& shape, int64_t pages, int64_t slots);
    device::Tensor view(int64_t offset, device::DType dtype, std::initializer_list<int64_t> extents) const;

    StateShape shape_;
    int64_t pages_ = 0, slots_ = 0, bytes_ = 0;
    std::vector<Offsets> attention_, recurrent_;
    device::Buffer buffer_;
};

}  // namespace nibble::model
