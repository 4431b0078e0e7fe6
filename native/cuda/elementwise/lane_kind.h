// Which type an elementwise call computes in, and numbers as values of it: the host driver's rules
// (native/cpu/elementwise/elementwise_loop.cc, lane_arithmetic.h). Used by the elementwise operators' host
// code.
#pragma once

#include <limits>
#include <type_traits>

#include "dispatch/kernels.h"

namespace weft::cuda {

/// The host driver's rule: the widest lane of the operands; a bool output has no say.
enum class LaneKind : uint8_t { kF32, kF64, kI64 };
inline LaneKind lane_of(DType t) {
  if (t == DType::kF64) return LaneKind::kF64;
  return is_floating(t) ? LaneKind::kF32 : LaneKind::kI64;
}
inline LaneKind common_lane(const TensorIterator& it) {
  LaneKind lane = LaneKind::kI64;
  for (int i = it.operand[0].dtype == DType::kBool ? 1 : 0; i < it.operands; ++i) {
    LaneKind l = lane_of(it.operand[i].dtype);
    if (l == LaneKind::kF64) return l;
    if (l == LaneKind::kF32) lane = l;
  }
  return lane;
}

[[noreturn]] inline void fail_dtype(const char* op, int id, const TensorIterator& it) {
  const char* name[kMaxOperands] = {"-", "-", "-", "-"};
  for (int i = 0; i < it.operands; ++i) name[i] = dtype_name(it.operand[i].dtype);
  fail(ErrorCode::kDtype, "%s operator %d does not take these dtypes: out %s, in %s %s %s", op, id,
       name[0], name[1], name[2], name[3]);
}

/// A JavaScript number as a lane value; integers truncate and saturate, NaN gives 0.
template <typename L>
L lane_number(double v) {
  if constexpr (std::is_integral_v<L>) {
    if (v >= 0x1p63) return std::numeric_limits<L>::max();
    if (v > -0x1p63) return static_cast<L>(v);
    return v <= -0x1p63 ? std::numeric_limits<L>::min() : L(0);
  } else {
    return static_cast<L>(v);
  }
}

}  // namespace weft::cuda
