// Mean and reciprocal deviation of a row in two passes; the row lies in cache by the second. Used by the kernels of
// norm.cu and norm_add.cu.
#pragma once

#include "cuda/team.cuh"

namespace weft::cuda {

template <typename L>
struct Statistics {
  L mean, rstd;
};

/// Every thread of the team gets both. `centred` false: the mean is 0 (root-mean-square norm).
template <typename L, typename T, typename Team>
__device__ __forceinline__ Statistics<L> statistics(const Team& team, const T* x, int64_t n,
                                                    bool centred, double eps, bool packs) {
  L mean = 0;
  if (centred) {
    L sum = 0;
    sweep(team, x, n, packs, [&](int64_t i, auto width) {
      L v[decltype(width)::value];
      read_lanes<L>(x + i, v);
#pragma unroll
      for (L each : v) sum += each;
    });
    mean = team.combine(sum, Plus{}) / static_cast<L>(n);
  }
  L squares = 0;
  sweep(team, x, n, packs, [&](int64_t i, auto width) {
    L v[decltype(width)::value];
    read_lanes<L>(x + i, v);
#pragma unroll
    for (L each : v) squares += (each - mean) * (each - mean);
  });
  squares = team.combine(squares, Plus{});
  return {mean, L(1) / sqrt_of(squares / static_cast<L>(n) + static_cast<L>(eps))};
}

}  // namespace weft::cuda
