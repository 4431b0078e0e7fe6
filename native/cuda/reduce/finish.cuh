// How partial results of a reduction come together: within a warp, within a block, and over the
// chunks of an output in a second kernel. Always in a fixed order. Used by the kernels of
// reduce.cuh; for Op see there.
#pragma once

#include "cuda/launch.h"
#include "cuda/reduce/shape.h"

namespace weft::cuda {

inline constexpr int kFinishThreads = 256;

template <typename V>
__device__ __forceinline__ V shuffle_xor(V v, int mask) {
  static_assert(sizeof(V) % 4 == 0);
  union {
    V value;
    uint32_t words[sizeof(V) / 4];
  } from, to;
  from.value = v;
#pragma unroll
  for (int w = 0; w < static_cast<int>(sizeof(V) / 4); ++w)
    to.words[w] = __shfl_xor_sync(0xffffffffu, from.words[w], mask);
  return to.value;
}

/// The Values of n accumulators, n a power of two.
template <typename Op, int n>
__device__ __forceinline__ typename Op::Value merge_accumulators(
    const Op& op, const typename Op::Thread (&t)[n]) {
  typename Op::Value v[n];
#pragma unroll
  for (int k = 0; k < n; ++k) v[k] = op.value(t[k]);
#pragma unroll
  for (int s = n / 2; s > 0; s /= 2)
#pragma unroll
    for (int k = 0; k < s; ++k) v[k] = op.merge(v[k], v[k + s]);
  return v[0];
}

/// The values of neighbouring `lanes` threads (a power of two); each of them has the result.
template <typename Op>
__device__ __forceinline__ typename Op::Value lanes_merge(const Op& op, typename Op::Value v,
                                                          int lanes) {
  for (int m = lanes / 2; m > 0; m >>= 1) v = op.merge(v, shuffle_xor(v, m));
  return v;
}

/// The values of all threads of a block of a power of two of warps; the first warp has the result.
template <typename Op>
__device__ __forceinline__ typename Op::Value block_merge(const Op& op, typename Op::Value v) {
  __shared__ typename Op::Value parts[32];
#pragma unroll
  for (int m = 16; m > 0; m >>= 1) v = op.merge(v, shuffle_xor(v, m));
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
  __syncthreads();
  const int warps = static_cast<int>(blockDim.x / 32);
  if (threadIdx.x < 32) v = lanes_merge(op, parts[threadIdx.x % warps], warps);
  return v;
}

/// A warp or a block an output, whose chunk c lies at partials[output * output_step + c *
/// chunk_step].
template <bool kBlock, typename Op>
__global__ void __launch_bounds__(kFinishThreads, 3)
    finish_kernel(Op op, const typename Op::Value* partials, int64_t outputs, int64_t count,
                  unsigned chunks, int64_t output_step, int64_t chunk_step, ReduceTarget target) {
  constexpr int kTeam = kBlock ? kFinishThreads : 32;
  const int64_t output =
      static_cast<int64_t>(blockIdx.x) * (kFinishThreads / kTeam) + threadIdx.x / kTeam;
  if (output >= outputs) return;
  typename Op::Value v = op.start();
  const typename Op::Value* of = partials + output * output_step;
#pragma unroll 8
  for (unsigned c = threadIdx.x % kTeam; c < chunks; c += kTeam)
    v = op.merge(v, of[c * chunk_step]);
  if constexpr (kBlock) {
    v = block_merge(op, v);
  } else {
    v = lanes_merge(op, v, 32);
  }
  if (threadIdx.x % kTeam == 0) op.store(target, output, v, count);
}

/// Nothing to do where there is one chunk.
template <typename Op>
void launch_finish(const Op& op, const typename Op::Value* partials, const ReduceShape& shape,
                   int64_t output_step, int64_t chunk_step, const ReduceTarget& target,
                   cudaStream_t s) {
  if (shape.chunks <= 1) return;
  // A warp would take 2048 chunks in 64 steps, each a round trip to memory: 20 us.
  if (shape.chunks > 64) {
    finish_kernel<true><<<block_count(shape.outputs, 1), kFinishThreads, 0, s>>>(
        op, partials, shape.outputs, shape.count, shape.chunks, output_step, chunk_step, target);
  } else {
    finish_kernel<false><<<block_count(shape.outputs, kFinishThreads / 32), kFinishThreads, 0, s>>>(
        op, partials, shape.outputs, shape.count, shape.chunks, output_step, chunk_step, target);
  }
  check_launch("reduce");
}

}  // namespace weft::cuda
