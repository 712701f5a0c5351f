// record: a model's forward under a recording context: no memory is touched, only counted.
#include "base/check.h"
#include "model/model.h"

namespace nibble::model {

using device::DType;
using device::Tensor;

ops::Program record(const Model& model, const device::Device& device, int64_t sequences, int64_t rows, int64_t context,
                    const ops::RoutingModel* routing) {
    CHECK(sequences > 0 && rows > 0 && context >= 0);
    const StateShape& shape = model.spec().state;
    const int64_t tokens = sequences * rows, length = context + rows;
    const int64_t pages = (length + shape.page_size - 1) / shape.page_size;
    const State state = State::describe(shape, sequences * pages, sequences);

    Batch batch;
    batch.tokens = Tensor(nullptr, DType::i32, {tokens});
    batch.positions = Tensor(nullptr, DType::i32, {tokens});
    batch.logit_rows = Tensor(nullptr, DType::i32, {sequences});
    batch.sequences = {.count = sequences,
                       .tokens = tokens,
                       .row_start = Tensor(nullptr, DType::i32, {sequences + 1}),
                       .context_length = Tensor(nullptr, DType::i32, {sequences}),
                       .page_table = Tensor(nullptr, DType::i32, {sequences, pages}),
                       .slot = Tensor(nullptr, DType::i32, {sequences}),
                       .page_size = shape.page_size,
                       .max_rows = rows,
                       .max_context = length,
                       .total_context = sequences * length};

    ops::Program program;
    device::Arena arena;
    ops::OpContext op_context{.device = &device,
                              .arena = &arena,
                              .mode = ops::Mode::record,
                              .program = &program,
                              .routing = routing,
                              .activation = model.spec().activation};
    model.forward(op_context, batch, state, Tensor(nullptr, DType::f32, {sequences, model.spec().vocab_size}));
    program.scratch_peak_bytes = arena.peak_bytes();
    return program;
}

}  // namespace nibble::model
