// TensorIterator: one description of an elementwise loop over up to four operands, computed once
// and used by the kernels of every driver and by plugins. It broadcasts, orders dimensions by
// stride with the fastest first, merges dimensions that are contiguous together in every operand,
// and refuses outputs that overlap themselves or, partly, an input.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace weft {

inline constexpr int kMaxOperands = 4;

struct IterOperand {
  char* data = nullptr;
  int64_t strides[kMaxDims] = {};  ///< bytes; 0 where broadcast; dimension 0 is the fastest
  DType dtype = DType::kF32;
};

struct TensorIterator {
  int ndim = 0;                  ///< after merging; 0 only when numel is 1
  int64_t shape[kMaxDims] = {};  ///< dimension 0 is the fastest
  int64_t numel = 0;
  int operands = 0;
  IterOperand operand[kMaxOperands];  ///< outputs first
  /// Every operand is dense in the same order: element i lies at data + i * dtype_bytes.
  bool contiguous = false;

  /// operands[0] is the output and has the broadcast shape already; null entries are not allowed.
  static TensorIterator build(std::initializer_list<const Tensor*> operands, const char* op);
};

/// The dtype that values of `a` and `b` combine in (f16 + bf16 -> f32, integers -> wider, bool
/// lowest).
DType promote(DType a, DType b);
/// dtype of tensor (op) JavaScript number: an integral number keeps an integer dtype (bool -> i64),
/// any other number makes integers f32; floating dtypes stay.
DType promote_scalar(DType tensor, double number);

}  // namespace weft
