// See cuda/current_device.h.
#include "cuda/current_device.h"

#include <cuda_runtime_api.h>

#include "core/tensor.h"

namespace weft::cuda {

void set_current_device(int ordinal) {
  const cudaError_t status = cudaSetDevice(ordinal);
  if (status != cudaSuccess) {
    fail(ErrorCode::kCuda, "cudaSetDevice(%d): %s", ordinal, cudaGetErrorString(status));
  }
}

}  // namespace weft::cuda
