// Conversions between dtypes on CUDA, any layout; copies between equal dtypes are in copy.cu. The
// pairs that training and data loading use have kernels of their own; the rest go through the lane
// of the source, which loses nothing. Called through the kernel table and by unary (kCopy).
#include "cuda/elementwise/elementwise.cuh"
#include "cuda/kernel_list.h"

namespace weft::cuda {
namespace {

template <typename L>
struct Same {
  using Lane = L;
  __device__ __forceinline__ L operator()(L x) const { return x; }
};

template <typename Out, typename In>
void convert_all(const TensorIterator& it, Stream& stream) {
  launch1<Same<Lane<In>>, Out, In>({}, it, stream, "cast");
}

constexpr int pair(DType out, DType in) {
  return static_cast<int>(out) * 16 + static_cast<int>(in);
}

bool launch_frequent(const TensorIterator& it, Stream& stream) {
  switch (pair(it.operand[0].dtype, it.operand[1].dtype)) {
#define WEFT_CAST(out_dtype, Out, in_dtype, In) \
  case pair(DType::out_dtype, DType::in_dtype): \
    convert_all<Out, In>(it, stream);           \
    return true;
    WEFT_CAST(kF32, float, kF16, F16)
    WEFT_CAST(kF32, float, kBF16, BF16)
    WEFT_CAST(kF16, F16, kF32, float)
    WEFT_CAST(kBF16, BF16, kF32, float)
    WEFT_CAST(kF16, F16, kBF16, BF16)
    WEFT_CAST(kBF16, BF16, kF16, F16)
    WEFT_CAST(kF64, double, kF32, float)
    WEFT_CAST(kF32, float, kF64, double)
    WEFT_CAST(kF32, float, kI64, int64_t)
    WEFT_CAST(kF32, float, kI32, int32_t)
    WEFT_CAST(kF32, float, kU8, uint8_t)
    WEFT_CAST(kF32, float, kBool, Bool)
    WEFT_CAST(kBF16, BF16, kU8, uint8_t)
    WEFT_CAST(kI64, int64_t, kI32, int32_t)
    WEFT_CAST(kI32, int32_t, kI64, int64_t)
#undef WEFT_CAST
    default:
      return false;
  }
}

}  // namespace

void cast(const TensorIterator& it, Stream& stream) {
  if (it.numel == 0) return;
  if (it.operand[0].dtype == it.operand[1].dtype) return copy(it, stream);
  if (launch_frequent(it, stream)) return;
  switch (lane_of(it.operand[1].dtype)) {
    case LaneKind::kF32:
      return launch_mixed<2>(Same<float>{}, it, stream, "cast");
    case LaneKind::kF64:
      return launch_mixed<2>(Same<double>{}, it, stream, "cast");
    case LaneKind::kI64:
      return launch_mixed<2>(Same<int64_t>{}, it, stream, "cast");
  }
}

}  // namespace weft::cuda
