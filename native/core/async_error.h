// Errors that a kernel finds while it runs, long after its call returned: an index out of range.
// The kernel writes nothing out of bounds, notes the first such error of its device here, and the
// next call that waits for the device (item, data, toArray, synchronize) throws it as UsageError.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace weft {

/// From a kernel: `index` is not in 0..bound-1. Keeps the first error of the device until it is
/// taken.
void note_index_error(uint16_t device, uint16_t op, int64_t index, int64_t bound);
/// Throws and forgets the noted error of `device`, if any. Call after waiting for the device.
void throw_async_error(const Device& device);
/// A driver whose kernels note errors in memory of its own: throw_async_error() calls `poll` with
/// the device's index first, and `poll` hands what it finds to note_index_error().
void set_async_error_source(void (*poll)(uint16_t device));

}  // namespace weft
