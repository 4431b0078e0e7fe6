// Index errors that kernels meet: one record a device, in pinned host memory that kernels write and
// poll_device_error() reads after a wait. The first error wins until it is taken. Used by the
// embedding, gather and cross-entropy kernels; register.cc connects it to core/async_error.
#pragma once

#include <cstdint>

namespace weft::cuda {

/// Padded so that two devices never write one line.
struct alignas(64) DeviceError {
  uint32_t state;  ///< 0 empty, 1 being written, 2 complete
  uint32_t op;
  int64_t index, bound;
};

/// The record of `device` (its position in the fabric's table), as device code addresses it. The
/// memory is made at the first call.
DeviceError* device_error(uint16_t device);
/// Hands a complete record to note_index_error() and clears it. Call after waiting for the device.
void poll_device_error(uint16_t device);

#if defined(__CUDACC__)
__device__ inline void report_index(DeviceError* error, uint16_t op, int64_t index, int64_t bound) {
  if (atomicCAS_system(&error->state, 0u, 1u) != 0u) return;
  volatile DeviceError* to = error;
  to->op = op;
  to->index = index;
  to->bound = bound;
  __threadfence_system();
  to->state = 2u;
}
#endif

}  // namespace weft::cuda
