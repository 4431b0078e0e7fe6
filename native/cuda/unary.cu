// Unary operators on CUDA: the frequent ones have kernels of their own for f32, f16 and bf16; the
// others are in unary_any.cu. Called through the kernel table. Semantics are those of
// native/cpu/unary.cc.
#include <cmath>
#include <limits>

#include "cuda/elementwise.cuh"
#include "cuda/kernel_list.h"
#include "cuda/unary_any.h"
#include "fabric/half.h"

namespace weft::cuda {
namespace {

/// A functor with the scalar parameter p.
#define WEFT_UNARY(name, expression)                                                  \
  struct name {                                                                       \
    using Lane = float;                                                               \
    float p;                                                                          \
    __device__ __forceinline__ float operator()(float x) const { return expression; } \
  };
WEFT_UNARY(Neg, -x)
WEFT_UNARY(Exp, expf(x))
WEFT_UNARY(Sqrt, sqrtf(x))
WEFT_UNARY(Tanh, tanhf(x))
WEFT_UNARY(Sigmoid, sigmoid(x))
WEFT_UNARY(Relu, x < 0.0f ? 0.0f : x)
WEFT_UNARY(Gelu, gelu(x))
WEFT_UNARY(GeluErf, gelu_erf(x))
WEFT_UNARY(Silu, silu(x))
WEFT_UNARY(AddScalar, x + p)
WEFT_UNARY(MulScalar, x* p)
WEFT_UNARY(Square, x* x)
#undef WEFT_UNARY

/// Operators with kernels of their own; false when `op` has none.
template <typename T>
bool launch_frequent(int op, const TensorIterator& it, double p0, Stream& stream) {
  const auto p = static_cast<float>(p0);
  switch (op) {
    case static_cast<int>(UnaryOp::kNeg):
      launch1<Neg, T, T>({p}, it, stream, "neg");
      return true;
    case static_cast<int>(UnaryOp::kExp):
      launch1<Exp, T, T>({p}, it, stream, "exp");
      return true;
    case static_cast<int>(UnaryOp::kSqrt):
      launch1<Sqrt, T, T>({p}, it, stream, "sqrt");
      return true;
    case static_cast<int>(UnaryOp::kTanh):
      launch1<Tanh, T, T>({p}, it, stream, "tanh");
      return true;
    case static_cast<int>(UnaryOp::kSigmoid):
      launch1<Sigmoid, T, T>({p}, it, stream, "sigmoid");
      return true;
    case static_cast<int>(UnaryOp::kRelu):
      launch1<Relu, T, T>({p}, it, stream, "relu");
      return true;
    case static_cast<int>(UnaryOp::kGelu):
      launch1<Gelu, T, T>({p}, it, stream, "gelu");
      return true;
    case static_cast<int>(UnaryOp::kGeluErf):
      launch1<GeluErf, T, T>({p}, it, stream, "gelu");
      return true;
    case static_cast<int>(UnaryOp::kSilu):
      launch1<Silu, T, T>({p}, it, stream, "silu");
      return true;
    case static_cast<int>(UnaryOp::kAddScalar):
      launch1<AddScalar, T, T>({p}, it, stream, "add_scalar");
      return true;
    case static_cast<int>(UnaryOp::kMulScalar):
      launch1<MulScalar, T, T>({p}, it, stream, "mul_scalar");
      return true;
    case kSquareCode:
      launch1<Square, T, T>({p}, it, stream, "pow_scalar");
      return true;
    default:
      return false;
  }
}

bool is_comparison(UnaryOp op) { return op >= UnaryOp::kEqScalar && op <= UnaryOp::kGeScalar; }

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
  } else if (is_comparison(op)) {
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

/// Operators that an integer lane has no values for.
bool needs_floating(UnaryOp op) {
  switch (op) {
    case UnaryOp::kExp:
    case UnaryOp::kLog:
    case UnaryOp::kSqrt:
    case UnaryOp::kRsqrt:
    case UnaryOp::kSin:
    case UnaryOp::kCos:
    case UnaryOp::kTanh:
    case UnaryOp::kSigmoid:
    case UnaryOp::kGelu:
    case UnaryOp::kGeluErf:
    case UnaryOp::kSilu:
    case UnaryOp::kReciprocal:
    case UnaryOp::kDivScalar:
    case UnaryOp::kRdivScalar:
      return true;
    default:
      return false;
  }
}

}  // namespace

void unary(UnaryOp op, const TensorIterator& it, ElementParams params, Stream& stream) {
  if (op == UnaryOp::kCopy) return cast(it, stream);
  if (it.numel == 0) return;
  const DType in = it.operand[1].dtype;
  const LaneKind lane = adapt(op, common_lane(it), in, params);
  if (lane == LaneKind::kI64 && needs_floating(op)) fail_dtype("unary", static_cast<int>(op), it);
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
