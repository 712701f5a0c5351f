// LinearModule: one matrix of a checkpoint as a quantiser sees it: where its values lie, what it is for, how it is
// stored now. Found by tensor names and shapes alone, so that every family is read the same way.
#pragma once

#include "base/result.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/matrix_tensors.h"
#include "checkpoint/weights.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::checkpoint {

// What a matrix is for. The last four are never quantised by a scheme: what is not linear, and what reads nothing from
// the tokens that a text model serves. draft: the linear ones of a draft block (mtp), which are of no other role.
enum class ModuleRole : uint8_t { head, attention, mamba, mlp, draft, router, embedding, other_input, small };
std::string_view name(ModuleRole role);
constexpr bool is_quantizable(ModuleRole role) {
    return role != ModuleRole::router && role != ModuleRole::embedding && role != ModuleRole::small;
}

struct LinearModule {
    std::string name;  // as it is written: without ".weight"
    ModuleRole role = ModuleRole::mlp;
    int layer = -1;  // the number in its name, -1: none
    int64_t n = 0, k = 0;
    MatrixFormat format = MatrixFormat::bf16;
    // Plain formats: rows [row, row + n) of `source`, which may hold several modules (experts in one tensor) or be
    // another's (a head that is tied to the embedding).
    const TensorEntry* source = nullptr;
    int64_t row = 0;
    bool tied = false;      // the head, which has no tensor of its own
    MatrixTensors tensors;  // quantised formats: as they are
    Claim claim;

    bool is_plain() const {
        return format == MatrixFormat::f32 || format == MatrixFormat::f16 || format == MatrixFormat::bf16;
    }
};

// Every matrix, sorted by layer and name. Errors: as MatrixTensors::decide, naming the tensor.
Result<std::vector<LinearModule>> find_linear_modules(const Checkpoint& checkpoint);

}  // namespace nibble::checkpoint
