// Unary operators of the host driver: one TileFn an operator and lane. Called through the kernel
// table.
#include <cmath>
#include <limits>

#include "cpu/elementwise_loop.h"
#include "cpu/lane_arithmetic.h"
#include "cpu/register.h"
#include "cpu/vector_math.h"
#include "fabric/half.h"

namespace weft::cpu {
namespace {

bool is_comparison(UnaryOp op) { return op >= UnaryOp::kEqScalar && op <= UnaryOp::kGeScalar; }

/// sin (shift 0) or cos (shift 1): a tile with an argument past the vector code's range, an
/// infinity or NaN goes through the C library as a whole.
template <uint64_t shift, typename T>
void trig_tile(const Tile& t) {
  if constexpr (std::is_same_v<T, float>) {
    auto* a = static_cast<const float*>(t.in[0]);
    int64_t outside = 0;
    for (int64_t i = 0; i < t.n; ++i) outside += !(std::fabs(a[i]) <= math::kTrigLimit);
    if (outside == 0) return map1<T>(t, [](float x) { return math::trig(x, shift); });
  }
  map1<T>(t, [](T x) { return shift == 0 ? std::sin(x) : std::cos(x); });
}

/// Operators of floating lanes alone; nullptr for any other.
template <typename T>
TileFn pick_floating(UnaryOp op) {
  switch (op) {
    case UnaryOp::kExp:
      return [](const Tile& t) { map1<T>(t, [](T x) { return math::exp(x); }); };
    case UnaryOp::kLog:
      return [](const Tile& t) { map1<T>(t, [](T x) { return math::log(x); }); };
    case UnaryOp::kSqrt:
      return [](const Tile& t) { map1<T>(t, [](T x) { return std::sqrt(x); }); };
    case UnaryOp::kRsqrt:
      return [](const Tile& t) { map1<T>(t, [](T x) { return T(1) / std::sqrt(x); }); };
    case UnaryOp::kSin:
      return trig_tile<0, T>;
    case UnaryOp::kCos:
      return trig_tile<1, T>;
    case UnaryOp::kTanh:
      return [](const Tile& t) { map1<T>(t, [](T x) { return math::tanh(x); }); };
    case UnaryOp::kSigmoid:
      return [](const Tile& t) { map1<T>(t, [](T x) { return math::sigmoid(x); }); };
    case UnaryOp::kGelu:
      return [](const Tile& t) { map1<T>(t, [](T x) { return math::gelu(x); }); };
    case UnaryOp::kGeluErf:
      return [](const Tile& t) { map1<T>(t, [](T x) { return math::gelu_erf(x); }); };
    case UnaryOp::kSilu:
      return [](const Tile& t) { map1<T>(t, [](T x) { return math::silu(x); }); };
    case UnaryOp::kReciprocal:
      return [](const Tile& t) { map1<T>(t, [](T x) { return T(1) / x; }); };
    case UnaryOp::kDivScalar:
      return [](const Tile& t) { map1<T>(t, [p = T(t.p0)](T x) { return x / p; }); };
    case UnaryOp::kRdivScalar:
      return [](const Tile& t) { map1<T>(t, [p = T(t.p0)](T x) { return p / x; }); };
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
    if (exponent == 0.5) return pick_floating<T>(UnaryOp::kSqrt);
    if (exponent == -0.5) return pick_floating<T>(UnaryOp::kRsqrt);
    if (exponent == -1) return pick_floating<T>(UnaryOp::kReciprocal);
  }
  return [](const Tile& t) {
    map1<T>(t, [p = lane::from_number<T>(t.p0)](T x) { return lane::pow(x, p); });
  };
}

// A TileFn whose functor sees the lane value x and the parameter p.
#define WEFT_WITH_P0(expression)                                              \
  return [](const Tile& t) {                                                  \
    map1<T>(t, [p = lane::from_number<T>(t.p0)](T x) { return expression; }); \
  }

template <typename T>
TileFn pick(UnaryOp op, ElementParams params) {
  switch (op) {
    case UnaryOp::kNeg:
      return [](const Tile& t) { map1<T>(t, [](T x) { return lane::neg(x); }); };
    case UnaryOp::kAbs:
      return [](const Tile& t) { map1<T>(t, [](T x) { return lane::abs(x); }); };
    case UnaryOp::kRelu:
      return [](const Tile& t) { map1<T>(t, [](T x) { return x < T(0) ? T(0) : x; }); };
    case UnaryOp::kSign:
      return [](const Tile& t) { map1<T>(t, [](T x) { return lane::sign(x); }); };
    case UnaryOp::kClamp:
      return [](const Tile& t) {
        T low = lane::from_number<T>(t.p0), high = lane::from_number<T>(t.p1);
        map1<T>(t, [low, high](T x) {
          T v = x < low ? low : x;
          return v > high ? high : v;
        });
      };
    case UnaryOp::kAddScalar:
      WEFT_WITH_P0(lane::add(x, p));
    case UnaryOp::kSubScalar:
      WEFT_WITH_P0(lane::sub(x, p));
    case UnaryOp::kRsubScalar:
      WEFT_WITH_P0(lane::sub(p, x));
    case UnaryOp::kMulScalar:
      WEFT_WITH_P0(lane::mul(x, p));
    case UnaryOp::kMaximumScalar:
      WEFT_WITH_P0(lane::maximum(x, p));
    case UnaryOp::kMinimumScalar:
      WEFT_WITH_P0(lane::minimum(x, p));
    case UnaryOp::kEqScalar:
      WEFT_WITH_P0(x == p);
    case UnaryOp::kNeScalar:
      WEFT_WITH_P0(x != p);
    case UnaryOp::kLtScalar:
      WEFT_WITH_P0(x < p);
    case UnaryOp::kLeScalar:
      WEFT_WITH_P0(x <= p);
    case UnaryOp::kGtScalar:
      WEFT_WITH_P0(x > p);
    case UnaryOp::kGeScalar:
      WEFT_WITH_P0(x >= p);
    case UnaryOp::kPowScalar:
      return pick_power<T>(params.p0);
    case UnaryOp::kLogicalNot:
      return [](const Tile& t) { map1<T>(t, [](T x) { return x == T(0); }); };
    case UnaryOp::kIsFinite:
      // x - x is 0 for finite numbers and NaN for the others.
      return [](const Tile& t) { map1<T>(t, [](T x) { return lane::sub(x, x) == T(0); }); };
    default:
      break;
  }
  if constexpr (std::is_floating_point_v<T>) return pick_floating<T>(op);
  return nullptr;
}
#undef WEFT_WITH_P0

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
  } else if (is_comparison(op)) {
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
