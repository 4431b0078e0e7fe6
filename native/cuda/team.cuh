// Groups of threads that share a row: a warp (eight rows a block) or a whole block (one row). Sums
// and maxima are combined in a fixed order, so the bits do not depend on timing. Used by the
// softmax, cross-entropy and norm kernels.
#pragma once

#include <cstdint>

#include "cuda/arithmetic.cuh"
#include "cuda/element.cuh"
#include "cuda/launch.h"

namespace weft::cuda {

template <typename T, typename F>
__device__ __forceinline__ T warp_combine(T v, F f) {
#pragma unroll
  for (int m = 16; m > 0; m >>= 1) v = f(v, __shfl_xor_sync(0xffffffffu, v, m));
  return v;
}

inline constexpr int kTeamWarps = 8;  // rows a block of WarpTeam

struct WarpTeam {
  static constexpr int kMaxThreads = 32 * kTeamWarps;
  static constexpr int kBlocks = 3;  // a multiprocessor: bounds registers at 80
  __device__ __forceinline__ int rank() const { return threadIdx.x & 31; }
  __device__ __forceinline__ int size() const { return 32; }
  __device__ __forceinline__ int64_t row() const {
    return static_cast<int64_t>(blockIdx.x) * kTeamWarps + (threadIdx.x >> 5);
  }
  /// f over the values of all threads of the team, given to each of them.
  template <typename T, typename F>
  __device__ __forceinline__ T combine(T v, F f) const {
    return warp_combine(v, f);
  }
};

struct BlockTeam {
  static constexpr int kMaxThreads = 512;
  static constexpr int kBlocks = 2;
  __device__ __forceinline__ int rank() const { return threadIdx.x; }
  __device__ __forceinline__ int size() const { return blockDim.x; }
  __device__ __forceinline__ int64_t row() const { return blockIdx.x; }
  template <typename T, typename F>
  __device__ __forceinline__ T combine(T v, F f) const {
    __shared__ T parts[32];  // one a warp
    v = warp_combine(v, f);
    const int warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    __syncthreads();  // earlier readers of `parts` are done
    if ((threadIdx.x & 31) == 0) parts[warp] = v;
    __syncthreads();
    v = parts[0];
    for (int w = 1; w < warps; ++w) v = f(v, parts[w]);
    return v;
  }
};

struct Plus {
  template <typename T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Larger {
  template <typename T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};

/// How many elements of a row lie together in a call of sweep()'s body.
template <int n>
struct Width {
  static constexpr int value = n;
};

/// Elements before the first aligned one when packs may be used, else all.
template <typename T>
__device__ __forceinline__ int64_t head_of(const T* row, int64_t n, bool packs) {
  if (!packs) return n;
  const auto past = static_cast<int64_t>(reinterpret_cast<uintptr_t>(row) % 16);
  const int64_t head = past == 0 ? 0 : (16 - past) / static_cast<int64_t>(sizeof(T));
  return head < n ? head : n;
}

/// Calls body(i, Width<w>) for the elements i .. i + w - 1 that fall to this thread; together the
/// team covers 0 .. n - 1. Every pointer of the row must be as far from alignment as `row` is where
/// `packs` is set.
template <typename T, typename Team, typename Body>
__device__ __forceinline__ void sweep(const Team& team, const T* row, int64_t n, bool packs,
                                      Body body) {
  constexpr int V = kPack<T>;
  const int64_t head = head_of(row, n, packs);
  for (int64_t i = team.rank(); i < head; i += team.size()) body(i, Width<1>{});
  const int64_t packed = head + (n - head) / V * V;
  for (int64_t i = head + team.rank() * V; i < packed; i += static_cast<int64_t>(team.size()) * V)
    body(i, Width<V>{});
  for (int64_t i = packed + team.rank(); i < n; i += team.size()) body(i, Width<1>{});
}

/// w elements of a row as lane values, and back.
template <typename L, typename T, int w>
__device__ __forceinline__ void read_lanes(const T* p, L (&x)[w]) {
  const Pack<T, w> pack = load_pack<w>(p);
#pragma unroll
  for (int k = 0; k < w; ++k) x[k] = convert<L>(pack.v[k]);
}
template <typename L, typename T, int w>
__device__ __forceinline__ void write_lanes(T* p, const L (&x)[w]) {
  Pack<T, w> pack;
#pragma unroll
  for (int k = 0; k < w; ++k) pack.v[k] = convert<T>(x[k]);
  store_pack(p, pack);
}

/// Rows so short that a warp takes one.
inline bool warp_suffices(int64_t cols, int pack) { return cols <= 32 * 4 * pack; }
/// Threads of a block that takes one row.
inline int row_threads(int64_t cols, int pack) {
  const int64_t packs = ceil_div(cols, pack);
  return packs <= 256 ? 128 : (packs <= 1024 ? 256 : BlockTeam::kMaxThreads);
}

/// Starts kernel<WarpTeam> or kernel<BlockTeam> over `rows`: launch(team, blocks, threads). A grid
/// holds 2^31 - 1 blocks, more rows than fit in a device's memory with rows of this length.
template <typename Launch>
void launch_rows(int64_t rows, int64_t cols, int pack, Launch&& launch) {
  if (warp_suffices(cols, pack)) {
    launch(WarpTeam{}, block_count(rows, kTeamWarps), 32 * kTeamWarps);
  } else {
    launch(BlockTeam{}, block_count(rows, 1), row_threads(cols, pack));
  }
}

/// True when rows that start at these addresses are as many elements from the alignment of packs of
/// kPack<T>, row by row. The others' elements may be smaller than T.
template <typename T, typename... P>
bool same_phase(const T* first, const P*... others) {
  auto bytes = [](const void* p, size_t each) {
    return reinterpret_cast<uintptr_t>(p) % (each * kPack<T>);
  };
  const uintptr_t phase = bytes(first, sizeof(T));
  if (phase % sizeof(T) != 0) return false;
  return ((bytes(others, sizeof(P)) == phase / sizeof(T) * sizeof(P)) && ... && true);
}

}  // namespace weft::cuda
