// Binary operators of the host driver; the gradient operators are in binary_grad.cc. Called through
// the kernel table. Operands of different dtypes combine in the widest lane.
#include "cpu/binary_grad.h"
#include "cpu/elementwise_loop.h"
#include "cpu/lane_arithmetic.h"
#include "cpu/register.h"

namespace weft::cpu {
namespace {

// A TileFn whose functor sees the lane values a and b.
#define WEFT_PAIR(expression) \
  return [](const Tile& t) { map2<T>(t, [](T a, T b) { return expression; }); }

template <typename T>
TileFn pick(BinaryOp op) {
  switch (op) {
    case BinaryOp::kAdd:
      WEFT_PAIR(lane::add(a, b));
    case BinaryOp::kSub:
      WEFT_PAIR(lane::sub(a, b));
    case BinaryOp::kMul:
      WEFT_PAIR(lane::mul(a, b));
    case BinaryOp::kPow:
      WEFT_PAIR(lane::pow(a, b));
    case BinaryOp::kMaximum:
      WEFT_PAIR(lane::maximum(a, b));
    case BinaryOp::kMinimum:
      WEFT_PAIR(lane::minimum(a, b));
    case BinaryOp::kEq:
      WEFT_PAIR(a == b);
    case BinaryOp::kNe:
      WEFT_PAIR(a != b);
    case BinaryOp::kLt:
      WEFT_PAIR(a < b);
    case BinaryOp::kLe:
      WEFT_PAIR(a <= b);
    case BinaryOp::kGt:
      WEFT_PAIR(a > b);
    case BinaryOp::kGe:
      WEFT_PAIR(a >= b);
    case BinaryOp::kMaskScale:
      return [](const Tile& t) {
        map2<T>(t, [p = lane::from_number<T>(t.p0)](T x, T mask) {
          return mask != T(0) ? lane::mul(x, p) : T(0);
        });
      };
    case BinaryOp::kDiv:
      if constexpr (std::is_floating_point_v<T>) WEFT_PAIR(a / b);
      return nullptr;
    default:
      if constexpr (std::is_floating_point_v<T>) return pick_gradient<T>(op);
      return nullptr;
  }
}
#undef WEFT_PAIR

TileFn pick_lane(BinaryOp op, LaneType lane) {
  switch (lane) {
    case LaneType::kF32:
      return pick<float>(op);
    case LaneType::kF64:
      return pick<double>(op);
    case LaneType::kI64:
      return pick<int64_t>(op);
  }
  return nullptr;
}

}  // namespace

void binary(BinaryOp op, const TensorIterator& it, ElementParams params, Stream& stream) {
  if (op == BinaryOp::kClampGrad) params = open_bounds(params);
  const LaneType lane = common_lane(it);
  TileFn fn = pick_lane(op, lane);
  if (fn == nullptr) fail_dtype("binary", static_cast<int>(op), it);
  enqueue_elementwise({it, fn, lane, params.p0, params.p1}, stream);
}

}  // namespace weft::cpu
