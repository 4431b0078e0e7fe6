// The loops behind binary_grad.h: the slopes of dispatch/elementwise_functions.def.
#include "cpu/elementwise/binary_grad.h"

#include <cmath>
#include <limits>

#include "cpu/elementwise/lane_functions.h"

namespace weft::cpu {

template <typename L>
TileFn pick_gradient(BinaryOp op) {
  using namespace functions;
  switch (op) {
#define WEFT_SLOPE(name, expression)                                             \
  case BinaryOp::name:                                                           \
    return [](const Tile& t) {                                                   \
      map2<L>(t, [p0 = L(t.p0), p1 = L(t.p1)](L g, L x) { return expression; }); \
    };
#include "dispatch/elementwise_functions.def"
    default:
      return nullptr;
  }
}

template TileFn pick_gradient<float>(BinaryOp op);
template TileFn pick_gradient<double>(BinaryOp op);

ElementParams open_bounds(ElementParams params) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (std::isnan(params.p0)) params.p0 = -kInfinity;
  if (std::isnan(params.p1)) params.p1 = kInfinity;
  return params;
}

}  // namespace weft::cpu
