// Binary operators on CUDA; the gradient operators are in binary_grad.cu. Addition, subtraction,
// multiplication and division have kernels of their own for f32, f16 and bf16, with packs along
// broadcast rows, addition also of f32 and 16 bits; the rest share one kernel a dtype. Called through the kernel table. The
// functions are the rows of dispatch/elementwise_functions.def.
#include "cuda/elementwise/elementwise.cuh"
#include "cuda/elementwise/values.cuh"
#include "cuda/kernel_list.h"

namespace weft::cuda {
namespace {

template <typename L>
__device__ __noinline__ L any_binary(BinaryOp op, L a, L b) {
  return binary_value(op, a, b);
}

template <typename L>
struct AnyBinary {
  using Lane = L;
  BinaryOp op;
  __device__ __forceinline__ L operator()(L a, L b) const { return any_binary(op, a, b); }
};

/// One operator, known when compiled.
template <BinaryOp kOp>
struct Known {
  using Lane = float;
  __device__ __forceinline__ float operator()(float a, float b) const {
    return binary_value<float>(kOp, a, b);
  }
};

template <typename T>
bool launch_frequent(BinaryOp op, const TensorIterator& it, Stream& stream) {
  switch (op) {
#define WEFT_FREQUENT(enumerator, name)                                        \
  case BinaryOp::enumerator:                                                   \
    launch2<Known<BinaryOp::enumerator>, T, T, T, true>({}, it, stream, name); \
    return true;
    WEFT_FREQUENT(kAdd, "add")
    WEFT_FREQUENT(kSub, "sub")
    WEFT_FREQUENT(kMul, "mul")
    WEFT_FREQUENT(kDiv, "div")
#undef WEFT_FREQUENT
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

/// A residual's sum in a region of mixed precision: f32 and T, in either order, to f32.
template <typename T>
bool launch_residual(BinaryOp op, const TensorIterator& it, Stream& stream) {
  using F = Known<BinaryOp::kAdd>;
  if (op != BinaryOp::kAdd || it.operand[0].dtype != DType::kF32) return false;
  if (it.operand[1].dtype == DType::kF32) {
    launch2<F, float, float, T, true>({}, it, stream, "add");
  } else {
    launch2<F, float, T, float, true>({}, it, stream, "add");
  }
  return true;
}
bool launch_residual(BinaryOp op, const TensorIterator& it, Stream& stream) {
  const DType a = it.operand[1].dtype, b = it.operand[2].dtype;
  if ((a == DType::kF32) == (b == DType::kF32)) return false;
  const DType other = a == DType::kF32 ? b : a;
  if (other == DType::kBF16) return launch_residual<BF16>(op, it, stream);
  if (other == DType::kF16) return launch_residual<F16>(op, it, stream);
  return false;
}

}  // namespace

void binary(BinaryOp op, const TensorIterator& it, ElementParams params, Stream& stream) {
  if (it.numel == 0) return;
  if (kind_of(op) == ElementKind::kSlope) return binary_grad(op, it, params, stream);
  const DType in = it.operand[1].dtype;
  const LaneKind lane = common_lane(it);
  if (lane == LaneKind::kI64 && floating_only(kind_of(op)))
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
  if (done || launch_residual(op, it, stream)) return;
  if (lane == LaneKind::kF32) {
    launch_mixed<3>(AnyBinary<float>{op}, it, stream, "binary");
  } else if (lane == LaneKind::kF64) {
    launch_mixed<3>(AnyBinary<double>{op}, it, stream, "binary");
  } else {
    launch_mixed<3>(AnyBinary<int64_t>{op}, it, stream, "binary");
  }
}

}  // namespace weft::cuda
