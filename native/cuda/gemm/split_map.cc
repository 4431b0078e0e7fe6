// See split_map.h. The driver's encoder is found at run time, as all of the driver is.
#include "cuda/gemm/split_map.h"

#include "cuda/tensor_map.h"
#include "fabric/error.h"

namespace weft::cuda::split {

CUtensorMap map_columns(const void* base, fabric::DType dtype, int64_t columns, int64_t rows,
                        int64_t ld, int64_t batch, int64_t batch_step) {
  const auto bytes = static_cast<cuuint64_t>(fabric::dtype_bytes(dtype));
  const cuuint64_t sizes[3] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows),
                               static_cast<cuuint64_t>(batch)};
  // One product has any step; the map's must be one that TMA takes.
  const cuuint64_t strides[2] = {static_cast<cuuint64_t>(ld) * bytes,
                                 batch == 1 ? 16 : static_cast<cuuint64_t>(batch_step) * bytes};
  const cuuint32_t box[3] = {64, 64, 1}, every[3] = {1, 1, 1};
  CUtensorMap map;
  const CUresult status =
      tensor_map_encoder()(&map,
                           dtype == fabric::DType::kF16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                                        : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                           3, const_cast<void*>(base), sizes, strides, box, every,
                           CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                           CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS)
    fabric::fail(fabric::ErrorCode::kDevice,
                 "matmul: the driver made no tensor map of (%lld, %lld, %lld): CUDA error %d",
                 (long long)batch, (long long)rows, (long long)columns, static_cast<int>(status));
  return map;
}

}  // namespace weft::cuda::split
