// See tensor_map.h.
#include "cuda/attention/sm90/tensor_map.h"

#include "cuda/tensor_map.h"
#include "fabric/error.h"

namespace weft::cuda::attention::sm90 {
bool mappable(const AttentionArgs& args, const int64_t (&stride)[3]) {
  const int64_t sizes[3] = {args.batch, args.heads, 2};
  for (int d = 0; d < 3; ++d) {
    if (sizes[d] == 1) continue;
    const int64_t bytes = stride[d] * static_cast<int64_t>(dtype_bytes(args.dtype));
    if (bytes <= 0 || bytes % 16 != 0 || bytes >= int64_t{1} << 40) return false;
  }
  return true;
}

CUtensorMap map_operand(const AttentionArgs& args, const void* base, const int64_t (&stride)[3],
                        int64_t length, int box_rows) {
  const auto bytes = static_cast<int64_t>(dtype_bytes(args.dtype));
  const cuuint64_t sizes[4] = {static_cast<cuuint64_t>(args.width), static_cast<cuuint64_t>(length),
                               static_cast<cuuint64_t>(args.heads),
                               static_cast<cuuint64_t>(args.batch)};
  // A dimension of one element has any stride; the map's must be one that TMA takes.
  auto step = [&](int64_t size, int64_t elements) {
    return static_cast<cuuint64_t>(size == 1 ? 16 : elements * bytes);
  };
  const cuuint64_t strides[3] = {step(length, stride[2]), step(args.heads, stride[1]),
                                 step(args.batch, stride[0])};
  const cuuint32_t box[4] = {64, static_cast<cuuint32_t>(box_rows), 1, 1};
  const cuuint32_t every[4] = {1, 1, 1, 1};
  CUtensorMap map;
  const CUresult status =
      tensor_map_encoder()(&map,
                           args.dtype == DType::kF16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                                     : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                           4, const_cast<void*>(base), sizes, strides, box, every,
                           CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                           CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS)
    fail(ErrorCode::kDevice,
         "attention: the driver made no tensor map of (%lld, %lld, %lld, %lld): CUDA error %d",
         (long long)args.batch, (long long)args.heads, (long long)length, (long long)args.width,
         static_cast<int>(status));
  return map;
}

}  // namespace weft::cuda::attention::sm90
