// Copies elements between two layouts without looking at them. Used by cast (same dtype) and fill.
#pragma once

#include "iter/tensor_iterator.h"

namespace weft::cpu {

/// operand[0] = operand[1], whose elements have the same size. Runs on the calling thread and the
/// pool.
void strided_copy(const TensorIterator& it);

}  // namespace weft::cpu
