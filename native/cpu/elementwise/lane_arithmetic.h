// Arithmetic on one lane value, the same name for f32, f64 and i64: integers wrap instead of
// overflowing, maximum and minimum pass NaN on. Used by the unary, binary and reduce kernels.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace weft::cpu::lane {

template <typename T>
T add(T a, T b) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  else
    return a + b;
}
template <typename T>
T sub(T a, T b) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(static_cast<uint64_t>(a) - static_cast<uint64_t>(b));
  else
    return a - b;
}
template <typename T>
T mul(T a, T b) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
  else
    return a * b;
}
template <typename T>
T neg(T a) {
  if constexpr (std::is_integral_v<T>)
    return sub<T>(0, a);
  else
    return -a;
}
template <typename T>
T abs(T a) {
  if constexpr (std::is_integral_v<T>)
    return a < 0 ? neg(a) : a;
  else
    return std::fabs(a);
}
/// -1, 0 or 1; NaN stays.
template <typename T>
T sign(T a) {
  return a > T(0) ? T(1) : (a < T(0) ? T(-1) : a);
}

// Also for vectors of lanes, hence without branches. (a != a) is true for NaN alone.
template <typename T>
T maximum(T a, T b) {
  return ((a > b) | (a != a)) ? a : b;
}
template <typename T>
T minimum(T a, T b) {
  return ((a < b) | (a != a)) ? a : b;
}

/// At least `low`, at most `high`; NaN stays.
template <typename T>
T bounded(T a, T low, T high) {
  T v = a < low ? low : a;
  return v > high ? high : v;
}

template <typename T>
T pow(T base, T exponent) {
  if constexpr (std::is_integral_v<T>) {
    // A negative power of an integer is 0 unless the base is 1 or -1.
    if (exponent < 0) return base == 1 ? 1 : (base == -1 ? (exponent & 1 ? -1 : 1) : 0);
    T result = 1;
    for (; exponent > 0; exponent >>= 1) {
      if (exponent & 1) result = mul(result, base);
      base = mul(base, base);
    }
    return result;
  } else {
    return std::pow(base, exponent);
  }
}

/// A JavaScript number as a lane value; integers truncate and saturate, NaN gives 0.
template <typename T>
T from_number(double v) {
  if constexpr (std::is_integral_v<T>) {
    if (v >= 0x1p63) return std::numeric_limits<T>::max();
    if (v > -0x1p63) return static_cast<T>(v);
    return v <= -0x1p63 ? std::numeric_limits<T>::min() : T(0);
  } else {
    return static_cast<T>(v);
  }
}

}  // namespace weft::cpu::lane
