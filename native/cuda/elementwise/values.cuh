// The rows of dispatch/elementwise_functions.def as device functions: one switch each over the
// unary, binary and slope operators. Where the operator is known when compiled, one case is left.
// Used by unary*.cu and binary*.cu.
#pragma once

#include "cuda/arithmetic.cuh"
#include "dispatch/elementwise_ops.h"

namespace weft::cuda {

/// An operator that lane L lacks gives x; the callers refuse it before.
template <typename L>
__device__ __forceinline__ L unary_value(UnaryOp op, L x, L p0, L p1) {
  switch (op) {
#define WEFT_UNARY(name, kind, expression)                                          \
  case UnaryOp::name:                                                               \
    if constexpr (!floating_only(ElementKind::kind) || std::is_floating_point_v<L>) \
      return expression;                                                            \
    break;
#include "dispatch/elementwise_functions.def"
    default:
      break;
  }
  return x;
}

template <typename L>
__device__ __forceinline__ L binary_value(BinaryOp op, L a, L b) {
  switch (op) {
#define WEFT_BINARY(name, kind, expression)                                         \
  case BinaryOp::name:                                                              \
    if constexpr (!floating_only(ElementKind::kind) || std::is_floating_point_v<L>) \
      return expression;                                                            \
    break;
#include "dispatch/elementwise_functions.def"
    default:
      break;
  }
  return a;
}

/// Floating lanes alone.
template <typename L>
__device__ __forceinline__ L slope_value(BinaryOp op, L g, L x, L p0, L p1) {
  switch (op) {
#define WEFT_SLOPE(name, expression) \
  case BinaryOp::name:               \
    return expression;
#include "dispatch/elementwise_functions.def"
    default:
      return g;
  }
}

}  // namespace weft::cuda
