// Tensor: a typed view of memory that somebody else owns. Row-major; a row stride lets it be columns of a wider tensor.
//
// Copying copies the view. The memory may be a device's: only ops and buffers touch it.
#pragma once

#include "base/check.h"
#include "numeric/dtype.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>

namespace nibble::device {

using numeric::DType;

class Tensor {
public:
    static constexpr int kMaxRank = 4;

    Tensor() = default;
    Tensor(void* data, DType dtype, std::initializer_list<int64_t> shape) : data_(data), dtype_(dtype) {
        CHECK(static_cast<int>(shape.size()) <= kMaxRank);
        for (int64_t extent : shape) shape_[rank_++] = extent;
        row_stride_ = rank_ == 0 ? 0 : 1;
        for (int i = 1; i < rank_; ++i) row_stride_ *= shape_[i];
    }

    bool empty() const { return rank_ == 0; }  // no tensor given (an optional argument)
    int rank() const { return rank_; }
    int64_t dim(int i) const { return shape_[i < 0 ? rank_ + i : i]; }
    DType dtype() const { return dtype_; }
    int64_t elements() const {
        int64_t n = rank_ == 0 ? 0 : 1;
        for (int i = 0; i < rank_; ++i) n *= shape_[i];
        return n;
    }
    int64_t bytes() const { return elements() * numeric::size_bytes(dtype_); }
    int64_t row_stride() const { return row_stride_; }  // elements from row i to row i + 1 of the first dimension
    bool contiguous() const { return rank_ < 2 || row_stride_ * shape_[0] == elements(); }

    void* data() const { return data_; }
    template <class T>
    T* as() const {
        return static_cast<T*>(data_);
    }
    std::byte* row(int64_t i) const {
        return static_cast<std::byte*>(data_) + i * row_stride_ * numeric::size_bytes(dtype_);
    }
    template <class T>
    T* row_as(int64_t i) const {
        return reinterpret_cast<T*>(row(i));
    }

    // Rows [begin, end) of the first dimension.
    Tensor rows(int64_t begin, int64_t end) const {
        CHECK(rank_ >= 1 && 0 <= begin && begin <= end && end <= shape_[0]);
        Tensor t = *this;
        t.data_ = data_ == nullptr ? nullptr : row(begin);
        t.shape_[0] = end - begin;
        return t;
    }
    // Columns [begin, end) of a [rows, columns] tensor: the same rows, a narrower view.
    Tensor columns(int64_t begin, int64_t end) const {
        CHECK(rank_ == 2 && 0 <= begin && begin <= end && end <= shape_[1]);
        Tensor t = *this;
        if (data_ != nullptr) t.data_ = static_cast<std::byte*>(data_) + begin * numeric::size_bytes(dtype_);
        t.shape_[1] = end - begin;
        return t;
    }
    // The same elements under another shape; contiguous tensors only.
    Tensor reshape(std::initializer_list<int64_t> shape) const {
        Tensor t(data_, dtype_, shape);
        CHECK(contiguous() && t.elements() == elements());
        return t;
    }
    std::string describe() const;  // "bf16 [4, 2688]"

private:
    void* data_ = nullptr;
    DType dtype_ = DType::f32;
    int rank_ = 0;
    std::array<int64_t, kMaxRank> shape_{};
    int64_t row_stride_ = 0;
};

}  // namespace nibble::device
