#include "device/tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <span>

namespace nibble::device {

std::string Tensor::describe() const {
    if (empty()) return "no tensor";
    return fmt::format("{} [{}]", numeric::name(dtype_),
                       fmt::join(std::span(shape_.data(), static_cast<size_t>(rank_)), ", "));
}

}  // namespace nibble::device
