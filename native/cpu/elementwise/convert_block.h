// Moves elements between memory of any dtype and stride and a dense block of one of three lane
// types in which kernels compute: f32 (also for the 16-bit floats), f64 and i64 (all integers and
// bool). So an operator is compiled for three types, not eight. Used by the elementwise, cast and
// reduce kernels.
//
// Numbers that an integer dtype cannot hold: from floats they truncate and saturate, NaN gives 0;
// from wider integers they wrap. To bool: anything but 0 is true.
#pragma once

#include <cstdint>

#include "fabric/dtype.h"

namespace weft::cpu {

enum class LaneType : uint8_t { kF32, kF64, kI64 };

constexpr int64_t lane_bytes(LaneType lane) { return lane == LaneType::kF32 ? 4 : 8; }
constexpr fabric::DType lane_dtype(LaneType lane) {
  return lane == LaneType::kF32   ? fabric::DType::kF32
         : lane == LaneType::kF64 ? fabric::DType::kF64
                                  : fabric::DType::kI64;
}
/// The lane that holds every value of `dtype`.
constexpr LaneType lane_of(fabric::DType dtype) {
  if (dtype == fabric::DType::kF64) return LaneType::kF64;
  return fabric::is_floating(dtype) ? LaneType::kF32 : LaneType::kI64;
}

/// dst[i] = element i of src; `stride` in bytes, 0 repeats one element.
using LoadFn = void (*)(void* dst, const char* src, int64_t stride, int64_t n);
using StoreFn = void (*)(char* dst, int64_t stride, const void* src, int64_t n);

/// nullptr where the lane would lose what `dtype` holds: f64 into f32, floats into i64.
LoadFn load_fn(LaneType lane, fabric::DType dtype);
StoreFn store_fn(LaneType lane, fabric::DType dtype);

}  // namespace weft::cpu
