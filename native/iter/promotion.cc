// Type promotion: which dtype two operands combine in. Called by the elementwise operators.
#include <cmath>

#include "iter/tensor_iterator.h"

namespace weft {

DType promote(DType a, DType b) {
  if (a == b) return a;
  bool fa = is_floating(a), fb = is_floating(b);
  if (fa != fb) return fa ? a : b;
  if (fa) {
    if (a == DType::kF64 || b == DType::kF64) return DType::kF64;
    return DType::kF32;  // f32 with a half, or f16 with bf16
  }
  // bool < u8 < i32 < i64: every value of the lower one fits in the higher one
  auto width = [](DType t) {
    switch (t) {
      case DType::kBool:
        return 0;
      case DType::kU8:
        return 1;
      case DType::kI32:
        return 2;
      default:
        return 3;
    }
  };
  return width(a) > width(b) ? a : b;
}

DType promote_scalar(DType tensor, double number) {
  if (is_floating(tensor)) return tensor;
  bool integral = std::isfinite(number) && number == std::trunc(number);
  if (!integral) return DType::kF32;
  return tensor == DType::kBool ? DType::kI64 : tensor;
}

}  // namespace weft
