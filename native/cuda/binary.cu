// Binary operators on CUDA; the gradient operators are in binary_grad.cu. Addition, subtraction,
// multiplication and division have kernels of their own for f32, f16 and bf16, with packs along
// broadcast rows; the rest share one kernel a dtype. Called through the kernel table. Semantics are
// those of native/cpu/binary.cc.
#include "cuda/elementwise.cuh"
#include "cuda/kernel_list.h"

namespace weft::cuda {
namespace {

template <typename L>
__device__ __noinline__ L any_binary(BinaryOp op, L a, L b) {
  switch (op) {
    case BinaryOp::kAdd:
      return add(a, b);
    case BinaryOp::kSub:
      return sub(a, b);
    case BinaryOp::kMul:
      return mul(a, b);
    case BinaryOp::kDiv:
      if constexpr (std::is_floating_point_v<L>) return a / b;
      return a;
    case BinaryOp::kPow:
      return power(a, b);
    case BinaryOp::kMaximum:
      return maximum(a, b);
    case BinaryOp::kMinimum:
      return minimum(a, b);
    case BinaryOp::kEq:
      return a == b;
    case BinaryOp::kNe:
      return a != b;
    case BinaryOp::kLt:
      return a < b;
    case BinaryOp::kLe:
      return a <= b;
    case BinaryOp::kGt:
      return a > b;
    case BinaryOp::kGe:
      return a >= b;
    default:
      return a;
  }
}

template <typename L>
struct AnyBinary {
  using Lane = L;
  BinaryOp op;
  __device__ __forceinline__ L operator()(L a, L b) const { return any_binary(op, a, b); }
};

#define WEFT_BINARY(name, expression)                                                          \
  struct name {                                                                                \
    using Lane = float;                                                                        \
    __device__ __forceinline__ float operator()(float a, float b) const { return expression; } \
  };
WEFT_BINARY(Add, a + b)
WEFT_BINARY(Sub, a - b)
WEFT_BINARY(Mul, a* b)
WEFT_BINARY(Div, a / b)
#undef WEFT_BINARY

template <typename T>
bool launch_frequent(BinaryOp op, const TensorIterator& it, Stream& stream) {
  switch (op) {
    case BinaryOp::kAdd:
      launch2<Add, T, T, T, true>({}, it, stream, "add");
      return true;
    case BinaryOp::kSub:
      launch2<Sub, T, T, T, true>({}, it, stream, "sub");
      return true;
    case BinaryOp::kMul:
      launch2<Mul, T, T, T, true>({}, it, stream, "mul");
      return true;
    case BinaryOp::kDiv:
      launch2<Div, T, T, T, true>({}, it, stream, "div");
      return true;
    default:
      return false;
  }
}

template <typename T>
bool launch_shared(BinaryOp op, const TensorIterator& it, Stream& stream) {
  using F = AnyBinary<Lane<T>>;
  if (it.operand[0].dtype == it.operand[1].dtype) {
    launch2<F, T, T, T>({op}, it, stream, "binary");
    return true;
  }
  if (it.operand[0].dtype == DType::kBool) {
    launch2<F, Bool, T, T>({op}, it, stream, "binary");
    return true;
  }
  return false;
}

}  // namespace

void binary(BinaryOp op, const TensorIterator& it, ElementParams params, Stream& stream) {
  if (it.numel == 0) return;
  if (op >= BinaryOp::kReluGrad) return binary_grad(op, it, params, stream);
  const DType in = it.operand[1].dtype;
  const LaneKind lane = common_lane(it);
  if (lane == LaneKind::kI64 && op == BinaryOp::kDiv)
    fail_dtype("binary", static_cast<int>(op), it);
  bool done = false;
  if (in == it.operand[2].dtype && lane == lane_of(in)) {
    const bool same = it.operand[0].dtype == in;
    switch (in) {
      case DType::kF32:
        done = (same && launch_frequent<float>(op, it, stream)) ||
               launch_shared<float>(op, it, stream);
        break;
      case DType::kF16:
        done = (same && launch_frequent<F16>(op, it, stream)) || launch_shared<F16>(op, it, stream);
        break;
      case DType::kBF16:
        done =
            (same && launch_frequent<BF16>(op, it, stream)) || launch_shared<BF16>(op, it, stream);
        break;
      case DType::kF64:
        done = launch_shared<double>(op, it, stream);
        break;
      case DType::kI64:
        done = launch_shared<int64_t>(op, it, stream);
        break;
      case DType::kI32:
        done = launch_shared<int32_t>(op, it, stream);
        break;
      case DType::kU8:
        done = launch_shared<uint8_t>(op, it, stream);
        break;
      default:
        break;
    }
  }
  if (done) return;
  if (lane == LaneKind::kF32) {
    launch_mixed<3>(AnyBinary<float>{op}, it, stream, "binary");
  } else if (lane == LaneKind::kF64) {
    launch_mixed<3>(AnyBinary<double>{op}, it, stream, "binary");
  } else {
    launch_mixed<3>(AnyBinary<int64_t>{op}, it, stream, "binary");
  }
}

}  // namespace weft::cuda
