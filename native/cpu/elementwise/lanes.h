// Sums and maxima along a row, in a fixed set of vector lanes: compilers may not reorder
// floating-point sums, so the order is written out. It depends on the length alone, so a row has
// the same bits whichever thread takes it. Used by the row kernels.
#pragma once

#include <cstdint>
#include <cstring>

#include "cpu/elementwise/vector_math.h"

namespace weft::cpu {

/// One AVX2 register of T (two or more of a narrower processor's).
template <typename T>
struct Lanes {
  typedef T type __attribute__((vector_size(32)));
  static constexpr int kCount = 32 / sizeof(T);
  static type load(const T* from) {
    type v;
    std::memcpy(&v, from, sizeof(v));
    return v;
  }
};

/// Sum of term(x[i]...) over the rows given, i in 0..n-1. `term` takes one value of each row, or
/// one vector of each: arithmetic alone.
template <typename T, typename F, typename... Rows>
inline T lane_sum(int64_t n, F term, const Rows*... rows) {
  using L = Lanes<T>;
  constexpr int kCount = L::kCount;
  typename L::type s0 = {}, s1 = {}, s2 = {}, s3 = {};  // four hide the latency of an addition
  int64_t i = 0;
  for (; i + 4 * kCount <= n; i += 4 * kCount) {
    s0 += term(L::load(rows + i)...);
    s1 += term(L::load(rows + i + kCount)...);
    s2 += term(L::load(rows + i + 2 * kCount)...);
    s3 += term(L::load(rows + i + 3 * kCount)...);
  }
  for (; i + kCount <= n; i += kCount) s0 += term(L::load(rows + i)...);
  s0 = (s0 + s1) + (s2 + s3);
  T sum = 0;
  for (int l = 0; l < kCount; ++l) sum += s0[l];
  for (; i < n; ++i) sum += term(rows[i]...);
  return sum;
}
template <typename T>
inline T lane_sum(int64_t n, const T* row) {
  return lane_sum<T>(n, [](auto x) { return x; }, row);
}
template <typename T>
inline T lane_dot(int64_t n, const T* a, const T* b) {
  return lane_sum<T>(n, [](auto x, auto y) { return x * y; }, a, b);
}

/// Largest of x[0..n-1], n >= 1. A NaN may be passed over: callers meet it again in what they sum.
template <typename T>
inline T lane_max(const T* x, int64_t n) {
  using L = Lanes<T>;
  constexpr int kCount = L::kCount;
  T best = x[0];
  int64_t i = 0;
  if (n >= kCount) {
    typename L::type m0 = L::load(x), m1 = m0;
    for (; i + 2 * kCount <= n; i += 2 * kCount) {
      const auto a = L::load(x + i), b = L::load(x + i + kCount);
      m0 = a > m0 ? a : m0;
      m1 = b > m1 ? b : m1;
    }
    m0 = m1 > m0 ? m1 : m0;
    for (int l = 0; l < kCount; ++l) best = m0[l] > best ? m0[l] : best;
  }
  for (; i < n; ++i) best = x[i] > best ? x[i] : best;
  return best;
}

/// y[i] = exp(x[i] - shift); returns their sum. y may be x.
template <typename T>
inline T exp_row(const T* x, T shift, int64_t n, T* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = math::exp(x[i] - shift);
  return lane_sum(n, y);
}

/// The sum alone.
template <typename T>
inline T exp_sum(const T* x, T shift, int64_t n) {
  constexpr int64_t kBlock = 512;
  T values[kBlock];
  T sum = 0;
  for (int64_t i = 0; i < n; i += kBlock)
    sum += exp_row(x + i, shift, n - i < kBlock ? n - i : kBlock, values);
  return sum;
}

}  // namespace weft::cpu
