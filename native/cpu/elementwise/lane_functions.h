// The functions that dispatch/elementwise_functions.def names, for the lanes of the host driver:
// arithmetic (lane_arithmetic.h) and elementary functions (vector_math.h) under the names that both
// drivers share. Used by the unary and binary kernels.
#pragma once

#include <cmath>

#include "cpu/elementwise/lane_arithmetic.h"
#include "cpu/elementwise/vector_math.h"

namespace weft::cpu::functions {

using lane::add;
using lane::bounded;
using lane::maximum;
using lane::minimum;
using lane::mul;
using lane::sign;
using lane::sub;
using math::gelu;
using math::gelu_erf;
using math::gelu_erf_slope;
using math::gelu_slope;
using math::sigmoid;
using math::silu;
using math::silu_slope;

template <typename T>
T negate(T x) {
  return lane::neg(x);
}
template <typename T>
T magnitude(T x) {
  return lane::abs(x);
}
template <typename T>
T power(T x, T exponent) {
  return lane::pow(x, exponent);
}
template <typename T>
T exp_of(T x) {
  return math::exp(x);
}
template <typename T>
T log_of(T x) {
  return math::log(x);
}
/// log(1 + x) for x in [0, 1]: the quotient takes back what 1 + x rounded off.
template <typename T>
T log1p_of(T x) {
  T sum = T(1) + x;
  return sum == T(1) ? x : math::log(sum) * (x / (sum - T(1)));
}
template <typename T>
T tanh_of(T x) {
  return math::tanh(x);
}
template <typename T>
T sqrt_of(T x) {
  return std::sqrt(x);
}
template <typename T>
T rsqrt_of(T x) {
  return T(1) / std::sqrt(x);
}
// By the C library; unary.cc has vector code for f32.
template <typename T>
T sin_of(T x) {
  return std::sin(x);
}
template <typename T>
T cos_of(T x) {
  return std::cos(x);
}

}  // namespace weft::cpu::functions
