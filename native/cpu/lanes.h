// Sums and maxima along a row, in a fixed set of lanes: compilers may not reorder floating-point
// sums, so the order is written out, in a way that they turn into vector registers. The order
// depends on the length alone, so a row has the same bits whichever thread takes it. Used by the
// row kernels.
#pragma once

#include <cstdint>

namespace weft::cpu {

/// Sum of term(i) for i in 0..n-1.
template <typename T, typename F>
inline T lane_sum(int64_t n, F term) {
  constexpr int kWidth = 32 / sizeof(T);  // one AVX2 register
  constexpr int kLanes = 4 * kWidth;      // four of them hide the latency of an addition
  T lane[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int l = 0; l < kLanes; ++l) lane[l] += term(i + l);
  for (; i + kWidth <= n; i += kWidth)
    for (int l = 0; l < kWidth; ++l) lane[l] += term(i + l);
  T part[kWidth];
  for (int l = 0; l < kWidth; ++l)
    part[l] = (lane[l] + lane[l + kWidth]) + (lane[l + 2 * kWidth] + lane[l + 3 * kWidth]);
  T sum = 0;
  for (int l = 0; l < kWidth; ++l) sum += part[l];
  for (; i < n; ++i) sum += term(i);
  return sum;
}

/// Largest of x[0..n-1], n >= 1. A NaN may be passed over: callers meet it again in what they sum.
template <typename T>
inline T lane_max(const T* x, int64_t n) {
  constexpr int kLanes = 64 / sizeof(T);
  T best = x[0];
  int64_t i = 0;
  if (n >= kLanes) {
    T lane[kLanes];
    for (int l = 0; l < kLanes; ++l) lane[l] = x[l];
    for (i = kLanes; i + kLanes <= n; i += kLanes)
      for (int l = 0; l < kLanes; ++l) lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
    for (int l = 0; l < kLanes; ++l) best = lane[l] > best ? lane[l] : best;
  }
  for (; i < n; ++i) best = x[i] > best ? x[i] : best;
  return best;
}

}  // namespace weft::cpu
