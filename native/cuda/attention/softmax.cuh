// Softmax over keys that come in steps, with a running maximum and sum (Milakov & Gimelshein 2018), in a
// lane that holds two rows of scores as tensor cores leave them (mma.cuh). Used by the forward kernels.
#pragma once

#include <cmath>

namespace weft::cuda::attention {

__device__ inline float exp2_exact(float x) { return exp2f(x); }
/// One instruction, denormal results flushed to 0.
__device__ inline float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// Of a lane's two rows.
template <float (*kExp2)(float)>
struct RunningSoftmax {
  float top[2] = {-INFINITY, -INFINITY};  // of the scores as they came
  float sum[2] = {0, 0};                  // of this lane's columns alone

  /// Scores to weights 2^(scale · score) under the new maximum, scale > 0; `rescale` brings older
  /// sums under it.
  template <int kTiles>
  __device__ void advance(float (&scores)[kTiles][4], float scale, float (&rescale)[2]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float high = top[half];
#pragma unroll
      for (int j = 0; j < kTiles; ++j)
        high = fmaxf(high, fmaxf(scores[j][half * 2], scores[j][half * 2 + 1]));
      high = fmaxf(high, __shfl_xor_sync(~0u, high, 1));
      high = fmaxf(high, __shfl_xor_sync(~0u, high, 2));
      const float base = high == -INFINITY ? 0.0f : high * scale;  // a row that saw no key yet
      rescale[half] = kExp2(top[half] * scale - base);
      top[half] = high;
      float part = 0;
#pragma unroll
      for (int j = 0; j < kTiles; ++j) {
#pragma unroll
        for (int e = half * 2; e < half * 2 + 2; ++e) {
          scores[j][e] = kExp2(scores[j][e] * scale - base);
          part += scores[j][e];
        }
      }
      sum[half] = sum[half] * rescale[half] + part;
    }
  }
  __device__ float total(int half) const {
    float all = sum[half];
    all += __shfl_xor_sync(~0u, all, 1);
    return all + __shfl_xor_sync(~0u, all, 2);
  }
};

}  // namespace weft::cuda::attention
