// Elementary functions that the compiler turns into vector code: no branches, no calls, no tables,
// so a plain loop over them runs eight floats at a time. Used by the elementwise and random
// kernels; f64 goes through the C library. About 1-2 ulp in f32, right for infinities, NaN, zeros
// and subnormal results.
//
// Polynomials are minimax fits made for these intervals (Lawson's iteration). Reductions follow
// Cody and Waite 1980, "Software Manual for the Elementary Functions".
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace weft::cpu::math {

inline constexpr float kInf = std::numeric_limits<float>::infinity();
inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// 2^k for k in -126..127. Unsigned arithmetic: a NaN argument upstream may bring any k here.
inline float pow2(uint32_t k) { return std::bit_cast<float>((k + 127u) << 23); }

inline float exp(float x) {
  // Outside the bounds the result is 0 or infinity anyway; comparisons let NaN pass.
  float c = x < -104.0f ? -104.0f : x;
  c = c > 89.0f ? 89.0f : c;
  constexpr float kRound =
      12582912.0f;  // 1.5 * 2^23: the sum has the nearest integer in its low bits
  float t = c * 1.44269504f + kRound;
  float n = t - kRound;
  float r = (c - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 0.00139505533f;
  p = p * r + 0.00836895779f;
  p = p * r + 0.041666206f;
  p = p * r + 0.166665182f;
  p = p * r + 0.5f;
  float y = 1.0f + (r + r * r * p);
  // Two factors, since 2^n alone leaves the range of normal numbers at both ends.
  uint32_t k = std::bit_cast<uint32_t>(t) - std::bit_cast<uint32_t>(kRound);
  uint32_t half = static_cast<uint32_t>(static_cast<int32_t>(k) >> 1);
  return y * pow2(half) * pow2(k - half);
}

inline float log(float x) {
  bool small = x < std::numeric_limits<float>::min();
  float scaled = small ? x * 0x1p23f : x;
  constexpr uint32_t kSqrtHalf = 0x3f3504f3u;  // mantissas in [sqrt(1/2), sqrt(2))
  uint32_t u = std::bit_cast<uint32_t>(scaled) - kSqrtHalf;
  float e = static_cast<float>(static_cast<int32_t>(u) >> 23) - (small ? 23.0f : 0.0f);
  float f = std::bit_cast<float>((u & 0x7fffffu) + kSqrtHalf) - 1.0f;
  float p = 0.0674942881f;
  p = p * f - 0.116783492f;
  p = p * f + 0.118883193f;
  p = p * f - 0.124050885f;
  p = p * f + 0.142194554f;
  p = p * f - 0.166680261f;
  p = p * f + 0.200021252f;
  p = p * f - 0.250000089f;
  p = p * f + 0.333333135f;
  float z = f * f;
  float y = f * z * p + e * -2.12194440e-4f;
  y = f + (y - 0.5f * z);
  y = y + e * 0.693359375f;
  y = x > 0.0f ? y : (x == 0.0f ? -kInf : kNan);
  return x == kInf ? kInf : y;
}

inline float tanh(float x) {
  float z = std::fabs(x);
  float s = x * x;
  float p = -0.00571684353f;
  p = p * s + 0.0206503905f;
  p = p * s - 0.0537434295f;
  p = p * s + 0.133314908f;
  p = p * s - 0.333332837f;
  float near = x + x * s * p;
  float far = std::copysign(1.0f - 2.0f / (exp(2.0f * z) + 1.0f), x);
  return z < 0.625f ? near : far;
}

/// Arguments up to this size keep sin and cos exact to f32; beyond, callers take the C library.
inline constexpr float kTrigLimit = 1.0e6f;

/// sin(x) for shift 0, cos(x) for shift 1, |x| <= kTrigLimit. Reduced in f64, where n * pi/2 is
/// exact.
inline float trig(float x, uint64_t shift) {
  constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52
  double d = x;
  double t = d * 0.63661977236758134308 + kRound;
  double n = t - kRound;
  double r = (d - n * 1.57079632673412561417) - n * 6.07710050650619224932e-11;
  double z = r * r;
  double s = 2.717562355716407e-06;
  s = s * z - 0.0001983925636375213;
  s = s * z + 0.008333329142835761;
  s = s * z - 0.16666666639544897;
  s = r + r * z * s;
  double c = -2.720327076851776e-07;
  c = c * z + 2.4799435944081585e-05;
  c = c * z - 0.0013888883436330977;
  c = c * z + 0.04166666661917433;
  c = 1.0 - 0.5 * z + z * z * c;
  uint64_t quadrant = std::bit_cast<uint64_t>(t) + shift;
  double v = (quadrant & 1) ? c : s;
  return static_cast<float>((quadrant & 2) ? -v : v);
}

/// The normal distribution function. The tail is exp(-x^2/2) times a polynomial in (z-3)/(z+3), the
/// map of Shepherd and Laframboise 1981, so that it keeps its relative accuracy far out.
inline float normal_cdf(float x) {
  float a = std::fabs(x);
  a = a > 14.5f ? 14.5f : a;  // the tail is 0 from here on
  float z = a * 0.707106781f;
  float t = (z - 3.0f) / (z + 3.0f);
  float g = -0.000250984041f;
  g = g * t - 0.000735155947f;
  g = g * t + 0.00202391343f;
  g = g * t + 0.00254839007f;
  g = g * t - 0.0238149595f;
  g = g * t + 0.0682973415f;
  g = g * t - 0.119267419f;
  g = g * t + 0.129646555f;
  g = g * t - 0.0475626253f;
  g = g * t - 0.135621145f;
  g = g * t + 1.25300801f;
  // a^2/2 in two parts: its rounding error alone would cost 100 ulp in the tail.
  float top = std::bit_cast<float>(std::bit_cast<uint32_t>(a) & 0xfffff000u);
  float hi = 0.5f * a * a;
  float lo = (0.5f * top * top - hi) + 0.5f * (a - top) * (a + top);
  float e = exp(-hi);
  float tail = 0.5f * (e - e * lo) * g / (1.0f + 2.0f * z);
  return x < 0.0f ? tail : 1.0f - tail;
}

inline double exp(double x) { return std::exp(x); }
inline double log(double x) { return std::log(x); }
inline double tanh(double x) { return std::tanh(x); }
inline double normal_cdf(double x) { return 0.5 * std::erfc(x * -0.70710678118654752440); }

/// From exp(-|x|), so that both tails keep their relative accuracy.
template <typename T>
T sigmoid(T x) {
  T e = exp(-std::fabs(x));
  T s = T(1) / (T(1) + e);
  return x < T(0) ? e * s : s;
}

/// sigmoid(x) and its slope s (1 - s), which from s alone would cancel on the right.
template <typename T>
struct SigmoidSlope {
  T value, slope;
};
template <typename T>
SigmoidSlope<T> sigmoid_slope(T x) {
  T e = exp(-std::fabs(x));
  T s = T(1) / (T(1) + e);
  return {x < T(0) ? e * s : s, e * s * s};
}

// Left of these the result is 0, and a product with infinity would be NaN.
template <typename T>
inline constexpr T kSiluFloor = sizeof(T) == 4 ? T(-110) : T(-760);
template <typename T>
inline constexpr T kGeluFloor = sizeof(T) == 4 ? T(-15) : T(-40);

template <typename T>
T clip(T x, T bound) {
  T c = x < -bound ? -bound : x;
  return c > bound ? bound : c;
}

template <typename T>
T silu(T x) {
  T c = x < kSiluFloor<T> ? kSiluFloor<T> : x;
  return c * sigmoid(c);
}
template <typename T>
T silu_slope(T x) {
  T c = clip(x, -kSiluFloor<T>);
  SigmoidSlope<T> s = sigmoid_slope(c);
  return s.value + c * s.slope;
}

/// x/2 (1 + tanh(u)) is x sigmoid(2u), which does not cancel in the left tail.
template <typename T>
T gelu(T x) {
  T c = x < kGeluFloor<T> ? kGeluFloor<T> : x;
  return c * sigmoid(c * (T(1.5957691216057307118) + T(0.071354816272600256) * c * c));
}
template <typename T>
T gelu_slope(T x) {
  T c = clip(x, -kGeluFloor<T>);
  T z = c * c;
  SigmoidSlope<T> s = sigmoid_slope(c * (T(1.5957691216057307118) + T(0.071354816272600256) * z));
  return s.value + c * s.slope * (T(1.5957691216057307118) + T(0.21406444881780077) * z);
}

template <typename T>
T gelu_erf(T x) {
  T c = x < kGeluFloor<T> ? kGeluFloor<T> : x;
  return c * normal_cdf(c);
}
template <typename T>
T gelu_erf_slope(T x) {
  T c = clip(x, -kGeluFloor<T>);
  return normal_cdf(c) + c * T(0.39894228040143267794) * exp(T(-0.5) * c * c);
}

}  // namespace weft::cpu::math
