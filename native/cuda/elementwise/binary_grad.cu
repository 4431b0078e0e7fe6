// Gradient operators of BinaryOp on CUDA: (grad, input or output) to the gradient of the input, and
// the mask of dropout. Called by binary(). The slopes are rows of dispatch/elementwise_functions.def.
#include <cmath>
#include <limits>

#include "cuda/elementwise/elementwise.cuh"
#include "cuda/elementwise/values.cuh"
#include "cuda/kernel_list.h"

namespace weft::cuda {
namespace {

template <typename L>
__device__ __noinline__ L any_slope(BinaryOp op, L g, L x, L p0, L p1) {
  if (op == BinaryOp::kMaskScale) return x != L(0) ? mul(g, p0) : L(0);
  if constexpr (std::is_floating_point_v<L>) return slope_value(op, g, x, p0, p1);
  return g;
}

template <typename L>
struct AnySlope {
  using Lane = L;
  BinaryOp op;
  L p0, p1;
  __device__ __forceinline__ L operator()(L g, L x) const { return any_slope(op, g, x, p0, p1); }
};

/// One operator, known when compiled.
template <BinaryOp kOp>
struct Slope {
  using Lane = float;
  __device__ __forceinline__ float operator()(float g, float x) const {
    return slope_value(kOp, g, x, 0.0f, 0.0f);
  }
};

struct MaskScale {
  using Lane = float;
  float p;
  __device__ __forceinline__ float operator()(float x, float mask) const {
    return mask != 0.0f ? x * p : 0.0f;
  }
};

/// All operands have dtype T, but the mask of kMaskScale.
template <typename T>
bool launch_frequent(BinaryOp op, const TensorIterator& it, ElementParams params, Stream& stream) {
  switch (op) {
#define WEFT_FREQUENT(enumerator)                                              \
  case BinaryOp::enumerator:                                                   \
    launch2<Slope<BinaryOp::enumerator>, T, T, T>({}, it, stream, "gradient"); \
    return true;
    WEFT_FREQUENT(kReluGrad)
    WEFT_FREQUENT(kGeluGrad)
    WEFT_FREQUENT(kGeluErfGrad)
    WEFT_FREQUENT(kSiluGrad)
    WEFT_FREQUENT(kTanhGrad)
    WEFT_FREQUENT(kSigmoidGrad)
#undef WEFT_FREQUENT
    case BinaryOp::kMaskScale:
      launch2<MaskScale, T, T, Bool>({static_cast<float>(params.p0)}, it, stream, "dropout");
      return true;
    default:
      return false;
  }
}

bool is_frequent(BinaryOp op, const TensorIterator& it) {
  const DType x = op == BinaryOp::kMaskScale ? DType::kBool : it.operand[1].dtype;
  return it.operand[0].dtype == it.operand[1].dtype && it.operand[2].dtype == x;
}

template <typename L>
AnySlope<L> any_functor(BinaryOp op, ElementParams params) {
  return {op, lane_number<L>(params.p0), lane_number<L>(params.p1)};
}

}  // namespace

void binary_grad(BinaryOp op, const TensorIterator& it, ElementParams params, Stream& stream) {
  if (op == BinaryOp::kClampGrad) {
    constexpr double kUnbounded = std::numeric_limits<double>::infinity();
    if (std::isnan(params.p0)) params.p0 = -kUnbounded;
    if (std::isnan(params.p1)) params.p1 = kUnbounded;
  }
  const LaneKind lane = common_lane(it);
  if (lane == LaneKind::kI64 && op != BinaryOp::kMaskScale)
    fail_dtype("binary", static_cast<int>(op), it);
  if (is_frequent(op, it)) {
    bool done = false;
    switch (it.operand[0].dtype) {
      case DType::kF32:
        done = launch_frequent<float>(op, it, params, stream);
        break;
      case DType::kF16:
        done = launch_frequent<F16>(op, it, params, stream);
        break;
      case DType::kBF16:
        done = launch_frequent<BF16>(op, it, params, stream);
        break;
      default:
        break;
    }
    if (done) return;
  }
  if (lane == LaneKind::kF32) {
    launch_mixed<3>(any_functor<float>(op, params), it, stream, "gradient");
  } else if (lane == LaneKind::kF64) {
    launch_mixed<3>(any_functor<double>(op, params), it, stream, "gradient");
  } else {
    launch_mixed<3>(any_functor<int64_t>(op, params), it, stream, "gradient");
  }
}

}  // namespace weft::cuda
