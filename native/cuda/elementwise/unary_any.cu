// The kernels behind unary_any.h: one a dtype, which switches over the operators.
#include "cuda/elementwise/elementwise.cuh"
#include "cuda/elementwise/unary_any.h"
#include "cuda/elementwise/values.cuh"

namespace weft::cuda {
namespace {

template <typename L>
__device__ __forceinline__ L any_unary(int op, L x, L p0, L p1) {
  if (op == kSquareCode) return mul(x, x);
  if (op == kCubeCode) return mul(mul(x, x), x);
  return unary_value(static_cast<UnaryOp>(op), x, p0, p1);
}

template <typename L>
struct AnyUnary {
  using Lane = L;
  int op;
  L p0, p1;
  __device__ __forceinline__ L operator()(L x) const { return any_unary(op, x, p0, p1); }
};

template <typename L>
AnyUnary<L> any_functor(int op, ElementParams params) {
  return {op, lane_number<L>(params.p0), lane_number<L>(params.p1)};
}

/// One of the shared kernels for values of T; false when they do not cover these dtypes.
template <typename T>
bool launch_shared(int op, const TensorIterator& it, ElementParams params, Stream& stream) {
  auto f = any_functor<Lane<T>>(op, params);
  if (it.operand[0].dtype == it.operand[1].dtype) {
    launch1<AnyUnary<Lane<T>>, T, T, false, true>(f, it, stream, "unary");
    return true;
  }
  if (it.operand[0].dtype == DType::kBool) {
    launch1<AnyUnary<Lane<T>>, Bool, T, false, true>(f, it, stream, "unary");
    return true;
  }
  return false;
}

}  // namespace

void unary_any(int code, LaneKind lane, const TensorIterator& it, ElementParams params,
               Stream& stream) {
  const DType in = it.operand[1].dtype;
  bool done = false;
  if (lane == lane_of(in)) {
    switch (in) {
      case DType::kF32:
        done = launch_shared<float>(code, it, params, stream);
        break;
      case DType::kF16:
        done = launch_shared<F16>(code, it, params, stream);
        break;
      case DType::kBF16:
        done = launch_shared<BF16>(code, it, params, stream);
        break;
      case DType::kF64:
        done = launch_shared<double>(code, it, params, stream);
        break;
      case DType::kI64:
        done = launch_shared<int64_t>(code, it, params, stream);
        break;
      case DType::kI32:
        done = launch_shared<int32_t>(code, it, params, stream);
        break;
      default:
        break;
    }
  }
  if (done) return;
  if (lane == LaneKind::kF32) {
    launch_mixed<2>(any_functor<float>(code, params), it, stream, "unary");
  } else if (lane == LaneKind::kF64) {
    launch_mixed<2>(any_functor<double>(code, params), it, stream, "unary");
  } else {
    launch_mixed<2>(any_functor<int64_t>(code, params), it, stream, "unary");
  }
}

}  // namespace weft::cuda
