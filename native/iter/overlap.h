// Do two tensors over one storage share an element? Asked by TensorIterator for a result and each
// operand, when they lie in the same memory.
#pragma once

#include "core/tensor.h"

namespace weft {

enum class Overlap {
  kNone,   ///< no byte is part of both
  kExact,  ///< the same elements in the same order
  kPartial,
};

/// Exact for layouts that slicing, transposing and reshaping make. kPartial also when a layout is so
/// intricate that the search for a shared byte was given up.
Overlap overlap(const Tensor& a, const Tensor& b);

}  // namespace weft
