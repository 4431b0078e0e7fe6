// See tensor_map.h.
#include "cuda/tensor_map.h"

#include <cuda_runtime_api.h>

#include "fabric/cuda_launch.h"
#include "fabric/error.h"

namespace weft::cuda {
namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

Encode find() {
  void* symbol = nullptr;
  cudaDriverEntryPointQueryResult result;
  fabric::cuda::check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &symbol, 12000,
                                                       cudaEnableDefault, &result),
                      "cuTensorMapEncodeTiled");
  if (result != cudaDriverEntryPointSuccess || symbol == nullptr)
    fabric::fail(fabric::ErrorCode::kDevice, "the driver has no cuTensorMapEncodeTiled; update it");
  return reinterpret_cast<Encode>(symbol);
}

}  // namespace

Encode tensor_map_encoder() {
  static const Encode encode = find();
  return encode;
}

}  // namespace weft::cuda
