// Unary operators without kernels of their own: one kernel a dtype with a switch over the
// operators, whose code appears once in it; bandwidth still bounds it. Called by unary().
#pragma once

#include "cuda/elementwise/lane_kind.h"
#include "dispatch/kernels.h"

namespace weft::cuda {

/// Powers that need no pow(): codes behind those of UnaryOp.
inline constexpr int kSquareCode = 100, kCubeCode = 101;

/// `code` is a UnaryOp or one of the above; values are computed in `lane`.
void unary_any(int code, LaneKind lane, const TensorIterator& it, ElementParams params,
               Stream& stream);

}  // namespace weft::cuda
