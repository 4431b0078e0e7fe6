// The loops behind binary_grad.h. Where the true slope is not defined (relu and abs at 0, clamp at
// its bounds) they take 0, 0 and 1.
#include "cpu/binary_grad.h"

#include <cmath>
#include <limits>

#include "cpu/lane_arithmetic.h"
#include "cpu/vector_math.h"

namespace weft::cpu {

// A TileFn whose functor sees the gradient g and x, which is the input or the output.
#define WEFT_SLOPE(expression) \
  return [](const Tile& t) { map2<T>(t, [](T g, T x) { return expression; }); }

template <typename T>
TileFn pick_gradient(BinaryOp op) {
  switch (op) {
    case BinaryOp::kReluGrad:
      WEFT_SLOPE(x > T(0) ? g : T(0));
    case BinaryOp::kGeluGrad:
      WEFT_SLOPE(g * math::gelu_slope(x));
    case BinaryOp::kGeluErfGrad:
      WEFT_SLOPE(g * math::gelu_erf_slope(x));
    case BinaryOp::kSiluGrad:
      WEFT_SLOPE(g * math::silu_slope(x));
    case BinaryOp::kTanhGrad:
      WEFT_SLOPE(g * (T(1) - x * x));
    case BinaryOp::kSigmoidGrad:
      WEFT_SLOPE(g * x * (T(1) - x));
    case BinaryOp::kAbsGrad:
      WEFT_SLOPE(g * lane::sign(x));
    case BinaryOp::kClampGrad:
      return [](const Tile& t) {
        map2<T>(t, [low = T(t.p0), high = T(t.p1)](T g, T x) {
          return (x >= low) & (x <= high) ? g : T(0);
        });
      };
    default:
      return nullptr;
  }
}
#undef WEFT_SLOPE

template TileFn pick_gradient<float>(BinaryOp op);
template TileFn pick_gradient<double>(BinaryOp op);

ElementParams open_bounds(ElementParams params) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (std::isnan(params.p0)) params.p0 = -kInfinity;
  if (std::isnan(params.p1)) params.p1 = kInfinity;
  return params;
}

}  // namespace weft::cpu
