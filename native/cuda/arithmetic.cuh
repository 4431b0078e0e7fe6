// Arithmetic and elementary functions on one lane value, the same names for float, double and
// int64_t: integers wrap, maximum and minimum pass NaN on. The formulas are those of
// native/cpu/elementwise/lane_arithmetic.h and vector_math.h, which say where they come from. Used by the
// elementwise, reduce and row kernels; the names are those of dispatch/elementwise_functions.def.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace weft::cuda {

template <typename T>
inline constexpr T kInfinity = std::numeric_limits<T>::infinity();

template <typename T>
__device__ __forceinline__ T add(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  } else {
    return a + b;
  }
}
template <typename T>
__device__ __forceinline__ T sub(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(static_cast<uint64_t>(a) - static_cast<uint64_t>(b));
  } else {
    return a - b;
  }
}
template <typename T>
__device__ __forceinline__ T mul(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
  } else {
    return a * b;
  }
}
template <typename T>
__device__ __forceinline__ T negate(T a) {
  if constexpr (std::is_integral_v<T>) {
    return sub<T>(0, a);
  } else {
    return -a;
  }
}
template <typename T>
__device__ __forceinline__ T magnitude(T a) {
  if constexpr (std::is_integral_v<T>) {
    return a < 0 ? negate(a) : a;
  } else {
    return fabs(a);
  }
}
/// -1, 0 or 1; NaN stays.
template <typename T>
__device__ __forceinline__ T sign(T a) {
  return a > T(0) ? T(1) : (a < T(0) ? T(-1) : a);
}
template <typename T>
__device__ __forceinline__ T maximum(T a, T b) {
  return (a > b) || (a != a) ? a : b;
}
template <typename T>
__device__ __forceinline__ T minimum(T a, T b) {
  return (a < b) || (a != a) ? a : b;
}

/// At least `low`, at most `high`; NaN stays.
template <typename T>
__device__ __forceinline__ T bounded(T a, T low, T high) {
  T v = a < low ? low : a;
  return v > high ? high : v;
}

__device__ __forceinline__ float exp_of(float x) { return expf(x); }
__device__ __forceinline__ double exp_of(double x) { return exp(x); }
__device__ __forceinline__ float log_of(float x) { return logf(x); }
__device__ __forceinline__ double log_of(double x) { return log(x); }
__device__ __forceinline__ float log1p_of(float x) { return log1pf(x); }
__device__ __forceinline__ double log1p_of(double x) { return log1p(x); }
__device__ __forceinline__ float tanh_of(float x) { return tanhf(x); }
__device__ __forceinline__ double tanh_of(double x) { return tanh(x); }
__device__ __forceinline__ float sqrt_of(float x) { return sqrtf(x); }
__device__ __forceinline__ double sqrt_of(double x) { return sqrt(x); }
__device__ __forceinline__ float rsqrt_of(float x) { return rsqrtf(x); }
__device__ __forceinline__ double rsqrt_of(double x) { return 1.0 / sqrt(x); }
__device__ __forceinline__ float sin_of(float x) { return sinf(x); }
__device__ __forceinline__ double sin_of(double x) { return sin(x); }
__device__ __forceinline__ float cos_of(float x) { return cosf(x); }
__device__ __forceinline__ double cos_of(double x) { return cos(x); }
__device__ __forceinline__ float normal_cdf(float x) { return normcdff(x); }
__device__ __forceinline__ double normal_cdf(double x) { return normcdf(x); }
/// 1 / x for x in [1, 2]: the approximate division is within 1 ulp there.
__device__ __forceinline__ float reciprocal_near_one(float x) { return __fdividef(1.0f, x); }
__device__ __forceinline__ double reciprocal_near_one(double x) { return 1.0 / x; }

template <typename T>
__device__ __forceinline__ T power(T base, T exponent) {
  if constexpr (std::is_integral_v<T>) {
    // A negative power of an integer is 0 unless the base is 1 or -1.
    if (exponent < 0) return base == 1 ? 1 : (base == -1 ? (exponent & 1 ? -1 : 1) : 0);
    T result = 1;
    for (; exponent > 0; exponent >>= 1) {
      if (exponent & 1) result = mul(result, base);
      base = mul(base, base);
    }
    return result;
  } else if constexpr (std::is_same_v<T, float>) {
    return powf(base, exponent);
  } else {
    return pow(base, exponent);
  }
}

/// sigmoid(x) and its slope s (1 - s), from exp(-|x|), so that both tails keep their accuracy.
template <typename T>
struct SigmoidSlope {
  T value, slope;
};
template <typename T>
__device__ __forceinline__ SigmoidSlope<T> sigmoid_slope(T x) {
  T e = exp_of(-fabs(x));
  T s = reciprocal_near_one(T(1) + e);
  return {x < T(0) ? e * s : s, e * s * s};
}
template <typename T>
__device__ __forceinline__ T sigmoid(T x) {
  return sigmoid_slope(x).value;
}

// Left of these the result is 0, and a product with infinity would be NaN.
template <typename T>
inline constexpr T kSiluFloor = sizeof(T) == 4 ? T(-110) : T(-760);
template <typename T>
inline constexpr T kGeluFloor = sizeof(T) == 4 ? T(-15) : T(-40);

template <typename T>
__device__ __forceinline__ T raise(T x, T low) {
  return x < low ? low : x;
}
template <typename T>
__device__ __forceinline__ T clip(T x, T bound) {
  T c = x < -bound ? -bound : x;
  return c > bound ? bound : c;
}

template <typename T>
__device__ __forceinline__ T silu(T x) {
  T c = raise(x, kSiluFloor<T>);
  return c * sigmoid(c);
}
template <typename T>
__device__ __forceinline__ T silu_slope(T x) {
  T c = clip(x, -kSiluFloor<T>);
  SigmoidSlope<T> s = sigmoid_slope(c);
  return s.value + c * s.slope;
}
/// x/2 (1 + tanh(u)) is x sigmoid(2u), which does not cancel in the left tail.
template <typename T>
__device__ __forceinline__ T gelu(T x) {
  T c = raise(x, kGeluFloor<T>);
  return c * sigmoid(c * (T(1.5957691216057307118) + T(0.071354816272600256) * c * c));
}
template <typename T>
__device__ __forceinline__ T gelu_slope(T x) {
  T c = clip(x, -kGeluFloor<T>);
  T z = c * c;
  SigmoidSlope<T> s = sigmoid_slope(c * (T(1.5957691216057307118) + T(0.071354816272600256) * z));
  return s.value + c * s.slope * (T(1.5957691216057307118) + T(0.21406444881780077) * z);
}
template <typename T>
__device__ __forceinline__ T gelu_erf(T x) {
  T c = raise(x, kGeluFloor<T>);
  return c * normal_cdf(c);
}
template <typename T>
__device__ __forceinline__ T gelu_erf_slope(T x) {
  T c = clip(x, -kGeluFloor<T>);
  return normal_cdf(c) + c * T(0.39894228040143267794) * exp_of(T(-0.5) * c * c);
}

}  // namespace weft::cuda
