// Unary operators on CUDA: the frequent ones have kernels of their own for f32, f16 and bf16; the
// others are in unary_any.cu. Called through the kernel table. The functions are
// the rows of dispatch/elementwise_functions.def.
#include <cmath>
#include <limits>

#include "cuda/elementwise/elementwise.cuh"
#include "cuda/elementwise/unary_any.h"
#include "cuda/elementwise/values.cuh"
#include "cuda/kernel_list.h"
#include "fabric/half.h"

namespace weft::cuda {
namespace {

/// One operator, known when compiled, with the scalar parameter p.
template <UnaryOp kOp>
struct Known {
  using Lane = float;
  float p;
  __device__ __forceinline__ float operator()(float x) const {
    return unary_value<float>(kOp, x, p, 0.0f);
  }
};
struct Square {
  using Lane = float;
  __device__ __forceinline__ float operator()(float x) const { return x * x; }
};

/// Operators with kernels of their own; false when `op` has none.
template <typename T>
bool launch_frequent(int op, const TensorIterator& it, double p0, Stream& stream) {
  const auto p = static_cast<float>(p0);
  switch (op) {
#define WEFT_FREQUENT(enumerator, name)                               \
  case static_cast<int>(UnaryOp::enumerator):                         \
    launch1<Known<UnaryOp::enumerator>, T, T>({p}, it, stream, name); \
    return true;
    WEFT_FREQUENT(kNeg, "neg")
    WEFT_FREQUENT(kExp, "exp")
    WEFT_FREQUENT(kSqrt, "sqrt")
    WEFT_FREQUENT(kTanh, "tanh")
    WEFT_FREQUENT(kSigmoid, "sigmoid")
    WEFT_FREQUENT(kRelu, "relu")
    WEFT_FREQUENT(kGelu, "gelu")
    WEFT_FREQUENT(kGeluErf, "gelu")
    WEFT_FREQUENT(kSilu, "silu")
    WEFT_FREQUENT(kAddScalar, "add_scalar")
    WEFT_FREQUENT(kMulScalar, "mul_scalar")
#undef WEFT_FREQUENT
    case kSquareCode:
      launch1<Square, T, T>({}, it, stream, "pow_scalar");
      return true;
    default:
      return false;
  }
}

/// Parameters in the form that the kernels take: bounds instead of NaN, and numbers as a tensor of
/// 16 bits would hold them, so that an element equals the number it was made from.
LaneKind adapt(UnaryOp op, LaneKind lane, DType in, ElementParams& p) {
  if (op == UnaryOp::kClamp) {
    constexpr double kUnbounded = std::numeric_limits<double>::infinity();
    if (std::isnan(p.p0)) p.p0 = -kUnbounded;
    if (std::isnan(p.p1)) p.p1 = kUnbounded;
    if (lane == LaneKind::kI64) {
      p.p0 = std::ceil(p.p0);
      p.p1 = std::floor(p.p1);
    }
  } else if (kind_of(op) == ElementKind::kCompare) {
    if (in == DType::kF16) p.p0 = fabric::F16(static_cast<float>(p.p0));
    if (in == DType::kBF16) p.p0 = fabric::BF16(static_cast<float>(p.p0));
    if (lane == LaneKind::kI64 && p.p0 != std::trunc(p.p0)) return LaneKind::kF64;
  }
  return lane;
}

/// The code that the kernels switch on.
int kernel_code(UnaryOp op, LaneKind lane, double exponent) {
  if (op == UnaryOp::kPowScalar) {
    if (exponent == 2) return kSquareCode;
    if (exponent == 3) return kCubeCode;
    if (lane != LaneKind::kI64) {
      if (exponent == 0.5) return static_cast<int>(UnaryOp::kSqrt);
      if (exponent == -0.5) return static_cast<int>(UnaryOp::kRsqrt);
      if (exponent == -1) return static_cast<int>(UnaryOp::kReciprocal);
    }
  }
  return static_cast<int>(op);
}

}  // namespace

void unary(UnaryOp op, const TensorIterator& it, ElementParams params, Stream& stream) {
  if (op == UnaryOp::kCopy) return cast(it, stream);
  if (it.numel == 0) return;
  const DType in = it.operand[1].dtype;
  const LaneKind lane = adapt(op, common_lane(it), in, params);
  if (lane == LaneKind::kI64 && floating_only(kind_of(op)))
    fail_dtype("unary", static_cast<int>(op), it);
  const int code = kernel_code(op, lane, params.p0);
  if (in == it.operand[0].dtype) {
    bool done = false;
    if (in == DType::kF32) done = launch_frequent<float>(code, it, params.p0, stream);
    if (in == DType::kF16) done = launch_frequent<F16>(code, it, params.p0, stream);
    if (in == DType::kBF16) done = launch_frequent<BF16>(code, it, params.p0, stream);
    if (done) return;
  }
  unary_any(code, lane, it, params, stream);
}

}  // namespace weft::cuda
