// Which dimensions a reduction removes, shared by its forward and its gradient formulas.
#pragma once

#include <cstdint>

#include "core/dims.h"

namespace weft::ops {

/// Bit d: dimension d is reduced. Empty dims: all. Throws UsageError on a repeated dimension.
uint32_t reduced_mask(const Dims& dims, int rank, const char* name);
Dims reduced_shape(const Dims& shape, uint32_t mask, bool keep_dim);

}  // namespace weft::ops
