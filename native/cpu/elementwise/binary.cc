// Binary operators of the host driver, rows of dispatch/elementwise_functions.def; the gradient
// operators are in binary_grad.cc. Called through
// the kernel table. Operands of different dtypes combine in the widest lane.
#include "cpu/elementwise/binary_grad.h"
#include "cpu/elementwise/elementwise_loop.h"
#include "cpu/elementwise/lane_functions.h"
#include "cpu/register.h"

namespace weft::cpu {
namespace {

template <typename L>
TileFn pick(BinaryOp op) {
  using namespace functions;
  switch (op) {
#define WEFT_BINARY(name, kind, expression)                                          \
  case BinaryOp::name:                                                               \
    if constexpr (!floating_only(ElementKind::kind) || std::is_floating_point_v<L>)  \
      return [](const Tile& t) { map2<L>(t, [](L a, L b) { return expression; }); }; \
    return nullptr;
#include "dispatch/elementwise_functions.def"
    case BinaryOp::kMaskScale:
      return [](const Tile& t) {
        map2<L>(t, [p = lane::from_number<L>(t.p0)](L x, L mask) {
          return mask != L(0) ? mul(x, p) : L(0);
        });
      };
    default:
      if constexpr (std::is_floating_point_v<L>) return pick_gradient<L>(op);
      return nullptr;
  }
}

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
