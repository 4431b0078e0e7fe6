// The elementwise operators as the kernel table knows them, an enumerator for each row of
// elementwise_functions.def, and what kind each is. Operators (native/ops) choose dtypes by the
// kind; both drivers expand the rows into kernels.
#pragma once

#include <cstdint>

namespace weft {

/// out = f(a). Params p0, p1 by operator.
enum class UnaryOp : uint8_t {
  kCopy,
#define WEFT_UNARY(name, kind, expression) name,
#include "dispatch/elementwise_functions.def"
};
/// out = f(a, b). The *Grad operators take (grad, x or out) and give grad of x.
enum class BinaryOp : uint8_t {
#define WEFT_BINARY(name, kind, expression) name,
#define WEFT_SLOPE(name, expression) name,
#include "dispatch/elementwise_functions.def"
  kMaskScale,  ///< (x, mask of dtype bool): mask ? x * p0 : 0
};
enum class TernaryOp : uint8_t {
  kWhere,  ///< operands: out, condition (bool), a, b
};

enum class ElementKind : uint8_t { kArithmetic, kFloating, kCompare, kTest, kSlope };

constexpr ElementKind kind_of(UnaryOp op) {
  switch (op) {
#define WEFT_UNARY(name, kind, expression) \
  case UnaryOp::name:                      \
    return ElementKind::kind;
#include "dispatch/elementwise_functions.def"
    default:
      return ElementKind::kArithmetic;
  }
}
/// kMaskScale counts as a slope: it is one of dropout.
constexpr ElementKind kind_of(BinaryOp op) {
  switch (op) {
#define WEFT_BINARY(name, kind, expression) \
  case BinaryOp::name:                      \
    return ElementKind::kind;
#include "dispatch/elementwise_functions.def"
    default:
      return ElementKind::kSlope;
  }
}

/// Does a lane of integers lack this function?
constexpr bool floating_only(ElementKind kind) {
  return kind == ElementKind::kFloating || kind == ElementKind::kSlope;
}
constexpr bool gives_bool(ElementKind kind) {
  return kind == ElementKind::kCompare || kind == ElementKind::kTest;
}

}  // namespace weft
