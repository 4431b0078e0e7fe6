// Gradients of the unary operators as binary operators (grad, x or out). Called by binary.cc.
#pragma once

#include "cpu/elementwise/elementwise_loop.h"

namespace weft::cpu {

/// The loop of a gradient operator for float or double lanes; nullptr for any other operator.
template <typename T>
TileFn pick_gradient(BinaryOp op);
extern template TileFn pick_gradient<float>(BinaryOp op);
extern template TileFn pick_gradient<double>(BinaryOp op);

/// NaN, which means no bound, as the infinity that never bounds.
ElementParams open_bounds(ElementParams params);

}  // namespace weft::cpu
