// How attention's tiles come from and go to device memory, and who sees whom. Used by
// attention_forward.cuh and attention_backward.cuh. Blocks have 4 warps of 16 rows each.
#pragma once

#include <cuda_runtime.h>

#include "cuda/attention/attention.h"
#include "cuda/attention/mma.cuh"
#include "fabric/cuda_launch.h"

namespace weft::cuda::attention {

inline constexpr int kThreads = 128;
inline constexpr int kRows = 64;  // of a block: queries, or keys where it makes their gradients
inline constexpr float kLog2E = 1.4426950408889634f;

/// Rows of the other operand that a step takes: fewer where rows are long, for registers and
/// memory.
template <int kWidth>
inline constexpr int kStep = kWidth == 128 ? 32 : 64;

__device__ inline void copy_async(void* to, const void* from, bool inside) {
  const int bytes = inside ? 16 : 0;  // the rest of the 16 bytes is zeros
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(bytes)
               : "memory");
}
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits until at most `kPending` of this thread's latest groups are still under way.
template <int kPending>
__device__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

/// Begins to load rows first..first+kCount-1 of a head into `tile`; zeros from row `length` on and
/// from column `width` on. Unaligned rows are there at once, aligned ones after wait_copies().
template <typename T, int kWidth, int kCount>
__device__ void load_tile(T* tile, const T* head, int64_t row_stride, int64_t first, int64_t length,
                          int width, bool aligned) {
  constexpr int kChunk = 16 / sizeof(T), kChunks = kWidth / kChunk;
#pragma unroll
  for (int i = threadIdx.x; i < kCount * kChunks; i += kThreads) {
    const int r = i / kChunks, c = i % kChunks * kChunk;
    T* to = tile + r * kPitch<T, kWidth> + c;
    const bool inside = first + r < length && c < width;
    const T* from = head + (first + r) * row_stride + c;
    if (aligned) {
      copy_async(to, inside ? from : head, inside);
    } else {
      for (int e = 0; e < kChunk; ++e)
        to[e] = inside && c + e < width ? from[e] : static_cast<T>(0.0f);
    }
  }
}

/// Writes a warp's 16 rows of sums, times `factor` of the row, to rows first.. of a head.
template <typename T, int kWidth>
__device__ void store_rows(const float (&sums)[kWidth / 8][4], const float (&factor)[2], T* head,
                           int64_t row_stride, int64_t first, int64_t length, int width,
                           bool aligned) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t row = first + lane() / 4 + half * 8;
    if (row >= length) continue;
    T* to = head + row * row_stride;
#pragma unroll
    for (int j = 0; j < kWidth / 8; ++j) {
      const int column = j * 8 + lane() % 4 * 2;
      const float x = sums[j][half * 2] * factor[half], y = sums[j][half * 2 + 1] * factor[half];
      if (aligned && column < width) {
        if constexpr (sizeof(T) == 2) {
          *reinterpret_cast<uint32_t*>(to + column) = pack(x, y, T{});
        } else {
          *reinterpret_cast<float2*>(to + column) = make_float2(x, y);
        }
      } else {
        if (column < width) to[column] = static_cast<T>(x);
        if (column + 1 < width) to[column + 1] = static_cast<T>(y);
      }
    }
  }
}

/// Keys that query `row` sees: 0..visible-1.
__device__ inline int64_t visible_keys(const AttentionArgs& args, int64_t row) {
  if (!args.causal) return args.kv_len;
  const int64_t n = row + 1 + args.kv_len - args.q_len;
  return n < 0 ? 0 : n < args.kv_len ? n : args.kv_len;
}

/// Where head `index` (batch-major) begins.
template <typename T>
__device__ T* head_at(T* base, const int64_t (&stride)[3], const AttentionArgs& args,
                      int64_t index) {
  return base + index / args.heads * stride[0] + index % args.heads * stride[1];
}
template <typename T>
__device__ const T* head_in(const void* base, const int64_t (&stride)[3], const AttentionArgs& args,
                            int64_t index) {
  return head_at(static_cast<const T*>(base), stride, args, index);
}
template <typename T>
__device__ T* head_out(void* base, const int64_t (&stride)[3], const AttentionArgs& args,
                       int64_t index) {
  return head_at(static_cast<T*>(base), stride, args, index);
}

/// Launches `kernel` with one block for each `kRows` of `length` rows of each head.
template <typename Kernel>
void launch_blocks(Kernel kernel, const AttentionLaunch& launch, int64_t length, size_t shared,
                   const char* name) {
  const int64_t blocks = (length + kRows - 1) / kRows * launch.args.batch * launch.args.heads;
  if (blocks == 0) return;
  fabric::cuda::check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                           static_cast<int>(shared)),
                      name);
  kernel<<<static_cast<unsigned>(blocks), kThreads, shared, launch.stream>>>(launch);
  fabric::cuda::check_launch(name);
}

}  // namespace weft::cuda::attention
