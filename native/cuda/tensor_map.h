// The driver's encoder of tensor maps, what TMA reads a tensor's layout from. Used by GEMM and attention.
#pragma once

#include <cuda.h>

namespace weft::cuda {

/// cuTensorMapEncodeTiled, found at run time. Throws Error(kDevice) where the driver has none.
decltype(&cuTensorMapEncodeTiled) tensor_map_encoder();

}  // namespace weft::cuda
