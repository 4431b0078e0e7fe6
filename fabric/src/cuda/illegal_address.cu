// See illegal_address.h.
#include <cstdint>

#include "cuda/illegal_address.h"
#include "fabric/cuda_launch.h"

namespace fabric::cuda {
namespace {

// The address is an argument, so that the compiler does not see that it is none.
__global__ void write_to(volatile int* address) { *address = 1; }

}  // namespace

void launch_illegal_address(int ordinal, cudaStream_t stream) {
  use_device(ordinal);
  write_to<<<1, 1, 0, stream>>>(reinterpret_cast<volatile int*>(uintptr_t{64}));
  check_launch("illegal address");
}

}  // namespace fabric::cuda
