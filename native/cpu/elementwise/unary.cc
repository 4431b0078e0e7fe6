// Unary operators of the host driver: one TileFn for each row of dispatch/elementwise_functions.def
// and lane. Called through the kernel table.
#include <cmath>
#include <limits>

#include "cpu/elementwise/elementwise_loop.h"
#include "cpu/elementwise/lane_functions.h"
#include "cpu/register.h"
#include "fabric/half.h"

namespace weft::cpu {
namespace {

/// sin (shift 0) or cos (shift 1) in f32: a tile with an argument past the vector code's range, an
/// infinity or NaN goes through the C library as a whole.
template <uint64_t shift>
void trig_tile(const Tile& t) {
  auto* a = static_cast<const float*>(t.in[0]);
  int64_t outside = 0;
  for (int64_t i = 0; i < t.n; ++i) outside += !(std::fabs(a[i]) <= math::kTrigLimit);
  if (outside == 0) return map1<float>(t, [](float x) { return math::trig(x, shift); });
  map1<float>(t, [](float x) { return shift == 0 ? std::sin(x) : std::cos(x); });
}

/// The rows of elementwise_functions.def as loops; nullptr for an operator that lane L lacks.
template <typename L>
TileFn pick_listed(UnaryOp op) {
  using namespace functions;
  switch (op) {
#define WEFT_UNARY(name, kind, expression)                                                   \
  case UnaryOp::name:                                                                        \
    if constexpr (!floating_only(ElementKind::kind) || std::is_floating_point_v<L>) {        \
      return [](const Tile& t) {                                                             \
        map1<L>(t, [p0 = lane::from_number<L>(t.p0), p1 = lane::from_number<L>(t.p1)](L x) { \
          return expression;                                                                 \
        });                                                                                  \
      };                                                                                     \
    }                                                                                        \
    return nullptr;
#include "dispatch/elementwise_functions.def"
    default:
      return nullptr;
  }
}

/// Powers that need no general pow().
template <typename T>
TileFn pick_power(double exponent) {
  if (exponent == 2) return [](const Tile& t) { map1<T>(t, [](T x) { return lane::mul(x, x); }); };
  if (exponent == 3)
    return [](const Tile& t) { map1<T>(t, [](T x) { return lane::mul(lane::mul(x, x), x); }); };
  if constexpr (std::is_floating_point_v<T>) {
    if (exponent == 0.5) return pick_listed<T>(UnaryOp::kSqrt);
    if (exponent == -0.5) return pick_listed<T>(UnaryOp::kRsqrt);
    if (exponent == -1) return pick_listed<T>(UnaryOp::kReciprocal);
  }
  return pick_listed<T>(UnaryOp::kPowScalar);
}

template <typename T>
TileFn pick(UnaryOp op, ElementParams params) {
  if (op == UnaryOp::kPowScalar) return pick_power<T>(params.p0);
  if constexpr (std::is_same_v<T, float>) {
    if (op == UnaryOp::kSin) return trig_tile<0>;
    if (op == UnaryOp::kCos) return trig_tile<1>;
  }
  return pick_listed<T>(op);
}

TileFn pick_lane(UnaryOp op, LaneType lane, ElementParams params) {
  switch (lane) {
    case LaneType::kF32:
      return pick<float>(op, params);
    case LaneType::kF64:
      return pick<double>(op, params);
    case LaneType::kI64:
      return pick<int64_t>(op, params);
  }
  return nullptr;
}

/// Brings the parameters to the form that the loops take: bounds instead of NaN, and numbers as a
/// tensor of 16 bits would hold them, so that an element equals the number it was made from.
LaneType adapt(UnaryOp op, LaneType lane, DType in, ElementParams& p) {
  if (op == UnaryOp::kClamp) {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    if (std::isnan(p.p0)) p.p0 = -kInfinity;
    if (std::isnan(p.p1)) p.p1 = kInfinity;
    if (lane == LaneType::kI64) {
      p.p0 = std::ceil(p.p0);
      p.p1 = std::floor(p.p1);
    }
  } else if (kind_of(op) == ElementKind::kCompare) {
    if (in == DType::kF16) p.p0 = fabric::F16(static_cast<float>(p.p0));
    if (in == DType::kBF16) p.p0 = fabric::BF16(static_cast<float>(p.p0));
    if (lane == LaneType::kI64 && p.p0 != std::trunc(p.p0)) return LaneType::kF64;
  }
  return lane;
}

}  // namespace

void unary(UnaryOp op, const TensorIterator& it, ElementParams params, Stream& stream) {
  if (op == UnaryOp::kCopy) return cast(it, stream);
  const LaneType lane = adapt(op, common_lane(it), it.operand[1].dtype, params);
  TileFn fn = pick_lane(op, lane, params);
  if (fn == nullptr) fail_dtype("unary", static_cast<int>(op), it);
  enqueue_elementwise({it, fn, lane, params.p0, params.p1}, stream);
}

}  // namespace weft::cpu
