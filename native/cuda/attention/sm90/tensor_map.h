// Tensor maps of attention's operands: what TMA must know of a strided (batch, heads, length, width)
// tensor of 16-bit elements. Made by the launches in sm90/{forward,backward}.cuh for every call (a
// map is 128 bytes of the kernel's arguments, and holds the operand's address).
#pragma once

#include <cuda.h>

#include "cuda/attention/attention.h"

namespace weft::cuda::attention::sm90 {

/// Can TMA read and write the operand? Its base and strides are multiples of 16 bytes already.
bool mappable(const AttentionArgs& args, const int64_t (&stride)[3]);

/// Boxes of 64 columns and `box_rows` rows of one head, 128-byte swizzled; coordinates are (column,
/// row, head, batch). Rows from `length` and columns from `args.width` on read as zeros and are not
/// written. Throws a DeviceError where the driver refuses.
CUtensorMap map_operand(const AttentionArgs& args, const void* base, const int64_t (&stride)[3],
                        int64_t length, int box_rows);

}  // namespace weft::cuda::attention::sm90
