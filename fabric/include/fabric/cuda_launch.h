// What kernel launches of layers above need from the cuda driver: the right current device and
// checked errors. Usable only in builds with device code (WEFT_HAVE_CUDA).
#pragma once

#include <cuda_runtime_api.h>

namespace fabric::cuda {

/// Makes `ordinal` this thread's current device; a compare when it already is.
void use_device(int ordinal);
/// Throws Error(kCuda) naming `what` when `status` is not success. A sticky error (the context is
/// lost) poisons the fabric and throws Error(kPoisoned).
void check(cudaError_t status, const char* what);
/// check() on the error of the latest launch of this thread.
void check_launch(const char* what);
/// Streaming multiprocessors of the device, cached.
int multiprocessors(int ordinal);

}  // namespace fabric::cuda
