// Tensor maps of operands that are dense along m or n, for split_tile.cuh.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "fabric/dtype.h"

namespace weft::cuda::split {

/// Of (batch, rows, columns), `ld` elements from row to row; boxes of 64 x 64 of one element of the batch, 128-byte
/// swizzled, zeros past the ends. Throws where the driver refuses.
CUtensorMap map_columns(const void* base, fabric::DType dtype, int64_t columns, int64_t rows,
                        int64_t ld, int64_t batch, int64_t batch_step);

}  // namespace weft::cuda::split
