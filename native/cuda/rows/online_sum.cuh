// Maximum of a row and the sum of exponentials relative to it, in one pass (Milakov & Gimelshein
// 2018, "Online normalizer calculation for softmax"). Used by the softmax and cross-entropy
// kernels.
#pragma once

#include "cuda/team.cuh"

namespace weft::cuda {

template <typename L>
struct OnlineSum {
  L top, sum;  ///< sum of exp(x - top)
};

/// exp(a - top), 0 when there is nothing above -infinity: no NaN comes from empty parts, while NaN
/// and +infinity in the row make the sum NaN.
template <typename L>
__device__ __forceinline__ L exp_below(L a, L top) {
  return top == -kInfinity<L> ? L(0) : exp_of(a - top);
}

/// exp(x) for x <= 0 and a sum that exp(0) belongs to: to about 2 ulp near 0, 1e-7 |x| below, which the
/// sum does not see; one instruction instead of expf's ten.
__device__ __forceinline__ float exp_in_sum(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * 1.44269504088896341f));
  return y;
}
__device__ __forceinline__ double exp_in_sum(double x) { return exp(x); }

/// Combined over the team; every thread gets the result.
template <typename L, typename T, typename Team>
__device__ __forceinline__ OnlineSum<L> row_exp_sum(const Team& team, const T* x, int64_t n,
                                                    bool packs) {
  OnlineSum<L> part{-kInfinity<L>, L(0)};
  sweep(team, x, n, packs, [&](int64_t i, auto width) {
    constexpr int w = decltype(width)::value;
    L v[w];
    read_lanes<L>(x + i, v);
    L top = part.top;
#pragma unroll
    for (int k = 0; k < w; ++k) top = v[k] > top ? v[k] : top;
    const L base = top == -kInfinity<L> ? L(0) : top;
    L sum = part.sum * exp_in_sum(part.top - base);
#pragma unroll
    for (int k = 0; k < w; ++k) sum += exp_in_sum(v[k] - base);
    part = {top, sum};
  });
  const L top = team.combine(part.top, Larger{});
  return {top, team.combine(part.sum * exp_below(part.top, top), Plus{})};
}

}  // namespace weft::cuda
