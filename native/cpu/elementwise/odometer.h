// Odometer: walks the elements of a strided array in the iterator's order, dimension 0 fastest, row
// piece by row piece. Positions step by counters; only the start needs divisions. Used by every
// strided kernel.
#pragma once

#include <cstdint>

#include "core/dims.h"

namespace weft::cpu {

class Odometer {
 public:
  /// Starts at element `position`. Strides in bytes; both arrays must outlive this.
  Odometer(int ndim, const int64_t* shape, const int64_t* strides, char* base, int64_t position)
      : ndim_(ndim), shape_(shape), strides_(strides), ptr_(base) {
    for (int d = 0; d < ndim && position > 0; ++d) {
      at_[d] = position % shape[d];
      position /= shape[d];
      ptr_ += at_[d] * strides[d];
    }
  }
  Odometer() = default;

  char* ptr() const { return ptr_; }
  /// Elements from here to the end of the row.
  int64_t row_left() const { return ndim_ > 0 ? shape_[0] - at_[0] : 1; }
  /// Steps over n elements, n <= row_left().
  void advance(int64_t n) {
    if (ndim_ == 0) return;
    at_[0] += n;
    ptr_ += n * strides_[0];
    for (int d = 0; at_[d] == shape_[d] && d + 1 < ndim_; ++d) {
      ptr_ += strides_[d + 1] - shape_[d] * strides_[d];
      at_[d] = 0;
      ++at_[d + 1];
    }
  }

 private:
  int ndim_ = 0;
  const int64_t* shape_ = nullptr;
  const int64_t* strides_ = nullptr;
  char* ptr_ = nullptr;
  int64_t at_[kMaxDims] = {};
};

}  // namespace weft::cpu
