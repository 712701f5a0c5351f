// Sequences: how the T rows of a step belong to its B sequences, for the ops that keep something per sequence.
//
// Rows of one sequence are adjacent and in order. Tensors are on the device of the step; a row's position in its
// sequence is context_length - (row_start[b + 1] - row). A sequence whose first row has position 0 starts from nothing:
// its recurrent state is taken as zero whatever the slot holds.
#pragma once

#include "device/tensor.h"

#include <cstdint>

namespace nibble::ops {

struct Sequences {
    int64_t count = 0;              // B
    int64_t tokens = 0;             // T
    device::Tensor row_start;       // [B + 1] i32
    device::Tensor context_length;  // [B] i32, tokens of the sequence up to and with this step
    device::Tensor page_table;      // [B, P] i32: page of positions [p * page_size, …); unused entries are not read
    device::Tensor slot;            // [B] i32: place of the recurrent state
    int64_t page_size = 0;          // tokens a page
    // Upper bounds known on the host when the step is planned; they size grids and costs, never results.
    int64_t max_rows = 0, max_context = 0;
    int64_t total_context = 0;  // sum of context_length
};

}  // namespace nibble::ops
