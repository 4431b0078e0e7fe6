// A kernel that does what it must not, for tests; fault/illegal_address.cc asks for it.
#pragma once

#include <cuda_runtime_api.h>

namespace fabric::cuda {

/// Enqueues a write to an address that is never mapped: the context is lost when it runs.
void launch_illegal_address(int ordinal, cudaStream_t stream);

}  // namespace fabric::cuda
